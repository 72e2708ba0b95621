"""Far more clients than slots: everyone gets a 200 or a 429, soon enough, and memory stays where it was."""

from pathlib import Path

import httpx
import pytest

from tests.e2e.overload import Load, overload
from tests.e2e.serve_process import ServeProcess, serve_process

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "paragru-5m-stdlib-int8"
MEMORY_GROWTH = 300 << 20


def check(serve: ServeProcess, clients: int, seconds: float, queue_seconds: float) -> Load:
    """The wait of an accepted request: for its slot, and for its first token once it has one."""
    before = serve.resident_memory
    load = overload(serve.url, clients, seconds)
    growth = serve.resident_memory - before
    print(f"{clients} clients, {seconds:g} s: {load}; resident {before >> 20} MiB + {growth >> 20} MiB")
    assert set(load.statuses) <= {200, 429}, load.broken[:3]
    assert load.broken == []
    assert load.statuses[200] >= 64
    assert load.wait_at(0.99) <= queue_seconds
    assert growth <= MEMORY_GROWTH
    answer = httpx.post(f"{serve.url}/v1/completions", json={"prompt": "x", "max_tokens": 1}, timeout=30)
    assert answer.status_code == 200
    return load


def test_a_hundred_clients_at_once_get_an_answer_or_a_429() -> None:
    """Fewer places than clients, so that some are turned away."""
    options = ("--max-num-seqs", "16", "--max-queue", "32", "--queue-timeout-seconds", "10")
    with serve_process(SHIPPED, *options) as serve:
        load = check(serve, clients=100, seconds=5, queue_seconds=10)
        assert load.statuses[429] > 0
        assert set(load.codes) <= {"queue_full", "queue_timeout"}


@pytest.mark.soak
def test_five_hundred_clients_for_a_minute_get_an_answer_or_a_429() -> None:
    with serve_process(SHIPPED, "--max-queue", "256", "--queue-timeout-seconds", "20") as serve:
        load = check(serve, clients=500, seconds=60, queue_seconds=20)
        assert load.statuses[429] > 0
