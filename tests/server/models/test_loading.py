"""Loading beside everything else that a server does before it serves."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.models.loading import load_in_background
from pararnn_server.settings.server_settings import Settings

from pararnn_core.checkpoint import CheckpointError
from tests.fixtures import tiny_checkpoint


def loaders() -> Iterator[threading.Thread]:
    return (thread for thread in threading.enumerate() if thread.name == "loader")


def test_a_model_loads_on_a_thread_of_its_own(checkpoint: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total, threading.current_thread().name))

    loaded = load_in_background(Settings(checkpoint=str(checkpoint)), progress).result(timeout=60)
    assert loaded.model.is_packed
    done, total, thread = seen[-1]
    assert done == total
    assert thread == "loader"


def test_what_keeps_a_model_from_loading_is_the_error_of_its_future(tmp_path: Path) -> None:
    broken = tiny_checkpoint(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    future = load_in_background(Settings(checkpoint=str(broken)))
    with pytest.raises(CheckpointError, match="truncated"):
        future.result(timeout=60)


def test_a_cancelled_load_reads_no_further(checkpoint: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()
    calls = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        assert done < total
        reading.set()
        go_on.wait(60)

    future = load_in_background(Settings(checkpoint=str(checkpoint)), progress)
    assert reading.wait(60)
    assert future.cancel()
    go_on.set()
    for thread in loaders():
        thread.join(60)
    assert not list(loaders())
    assert len(calls) == 1


def test_a_load_begins_before_the_web_framework_is_imported() -> None:
    script = "import sys, pararnn_server.commands.serve\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    assert "pararnn_server.models.loading" in modules
    assert {"fastapi", "starlette", "uvicorn", "pararnn_server.app.process"}.isdisjoint(modules)
