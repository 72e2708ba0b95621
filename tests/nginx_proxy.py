"""The proxy of the compose file, in front of servers of a test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

CONFIGURATION = Path(__file__).resolve().parents[1] / "deploy" / "nginx.conf"
is_installed = shutil.which("nginx") is not None


@contextmanager
def nginx_proxy(folder: Path, urls: Sequence[str]) -> Iterator[str]:
    """Its url. folder: an empty one, for what nginx writes."""
    port = _free_port()
    file = folder / "nginx.conf"
    file.write_text(_in_front_of([urlsplit(url).netloc for url in urls], port, folder))
    command = ["nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(file)]
    process = subprocess.Popen([*command, "-g", f"daemon off; pid {folder}/nginx.pid;"])
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _in_front_of(servers: Sequence[str], port: int, folder: Path) -> str:
    """The configuration that ships, with other addresses and nothing written outside the folder."""
    text = CONFIGURATION.read_text()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    inside = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    changes = {
        "server server:8000;": "".join(f"server {server};" for server in servers),
        "listen 8000;": f"listen 127.0.0.1:{port};",
        "http {": f"http {{ access_log off; {inside}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
