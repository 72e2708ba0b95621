"""Signals to `pararnn serve`: before it listens, as process 1 of a container, from a terminal that closes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pararnn_server.app.app import create_app
from pararnn_server.app.process import _Server, uvicorn_config
from pararnn_server.commands.early_signals import end_on_signals
from pararnn_server.settings.server_settings import Settings

from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint

# Process ids of its own need root, or a kernel that gives them to everybody.
UNSHARE = ["unshare", "--fork", "--pid", "--kill-child"]
IN_NAMESPACE = [UNSHARE, [*UNSHARE, "--map-root-user"]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def as_process_1() -> list[str]:
    for command in IN_NAMESPACE:
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    pytest.skip("needs permission to make a namespace of process ids")


@contextmanager
def starting(checkpoint: Path, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    """A server that has only just begun to start."""
    command = [*prefix, sys.executable, "-m", "pararnn_server", "serve", "--port", "0", "--store", "memory"]
    process = subprocess.Popen(
        [*command, "--checkpoint", str(checkpoint)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def child_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.poll() is None
        time.sleep(0.01)
    return int(found[0])


def wait_until_it_handles(number: signal.Signals, pid: int) -> None:
    """Wait until the server has set its own handler."""
    end = time.monotonic() + 60
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught >> (number - 1) & 1:
            return
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_before_it_listens_ends_it_cleanly(checkpoint: Path, number: signal.Signals) -> None:
    with starting(checkpoint) as process:
        wait_until_it_handles(signal.SIGHUP, process.pid)  # the last one; Python itself handles SIGINT before
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "listening" not in err


@pytest.mark.parametrize(
    ("command", "code"), [("serve", 0), ("inspect", -signal.SIGINT), ("", -signal.SIGINT)]
)
def test_interrupt_while_it_imports_prints_nothing(command: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", "pararnn_server", *command.split()],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_signal_before_it_listens_reaches_process_1_too(checkpoint: Path, as_process_1: list[str]) -> None:
    with starting(checkpoint, *as_process_1) as process:
        pid = child_of(process)
        wait_until_it_handles(signal.SIGTERM, pid)
        subprocess.run(["kill", "-TERM", str(pid)], check=True)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_terminal_that_closes_drains_however_often_it_says_so(checkpoint: Path) -> None:
    with (
        serve_process(checkpoint, "--drain-seconds", "60") as serve,
        httpx.Client(base_url=serve.url, timeout=60) as client,
    ):
        body = {"prompt": "the", "ignore_eos": True, "stream": True, "max_tokens": 3000}
        with client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            serve.process.send_signal(signal.SIGHUP)
            while httpx.get(f"{serve.url}/ready").status_code == 200:
                time.sleep(0.01)
            for number in (signal.SIGHUP, signal.SIGTERM):
                serve.process.send_signal(number)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert serve.process.wait(timeout=30) == 0


def test_nohup_is_heeded() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        end_on_signals()
        settings = Settings(store="memory")
        app = create_app(settings)
        with _Server(uvicorn_config(settings, app), app.state.service).capture_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
