"""Many sessions on one machine: their cost while they wait, and the time until each resumes.

python -m benchmarks.sessions --sessions 10000

The states are random bytes of the 130m preset's size, because nothing here depends on their contents.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import TypeVar

import torch
from pararnn_server.access.owner import Owner
from pararnn_server.metrics.memory import release_free_memory, resident_memory_bytes
from pararnn_server.metrics.metrics import ServerMetrics
from pararnn_server.sessions import branches
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.model_kind import model_kind
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.turn import Turn, TurnResult
from pararnn_server.sessions.turns import abandon_turn, begin_turn

from benchmarks.serving import percentile
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_bytes, state_parts
from pararnn_core.state import RecurrentState, StateSnapshot

T = TypeVar("T")

OWNER = Owner("bench")
PRESET = "130m"
TURN_TOKENS = 64
SAMPLES = 1000
_AT_ONCE = 64


@dataclass(frozen=True)
class Parked:
    """Figures of waiting sessions, in bytes and seconds. state_bytes: of all sessions, computed.

    resident: growth of the process; store: of the file, without rollback copies. A resume lasts from the
    request of a turn until the state is in its slot. A commit is that of a single turn of 64 tokens.
    """

    sessions: int
    state_bytes: int
    resident: int
    store: int
    host_p50: float
    host_p99: float
    store_p50: float
    store_p99: float
    fork_p99: float
    commit_p50: float
    commit_p99: float

    def __str__(self) -> str:
        size = self.state_bytes
        rows = (
            ("sessions", f"{self.sessions:,}, {size / 1e6:.1f} MB of states"),
            ("resident memory", f"{self.resident / 1e6:.1f} MB, {self.resident / size - 1:+.1%}"),
            ("store", f"{self.store / 1e6:.1f} MB, {self.store / size - 1:+.1%}"),
            ("resume from host, p50 / p99", _ms(self.host_p50, self.host_p99)),
            ("resume from store, p50 / p99", _ms(self.store_p50, self.store_p99)),
            ("fork, p99", _ms(self.fork_p99)),
            ("commit of a turn, p50 / p99", _ms(self.commit_p50, self.commit_p99)),
        )
        return "\n".join(f"{name:32}{value}" for name, value in rows)


def measure(num_sessions: int, folder: Path) -> Parked:
    """Measure num_sessions sessions, with the store's file in the folder."""
    config = ModelConfig.preset(PRESET)
    pool = RecurrentState(state_parts(config), 1)
    sessions = _open(config, folder, num_sessions)
    try:
        release_free_memory()
        before = resident_memory_bytes() or 0
        ids = _park(sessions, config, num_sessions)
        release_free_memory()
        resident = (resident_memory_bytes() or 0) - before
        draw = random.Random(0)
        chosen = [draw.choice(ids) for _ in range(SAMPLES)]
        host = [_resume(sessions, pool, session_id) for session_id in chosen]
        commits = [_turn(sessions, session_id, config) for session_id in chosen[:200]]
        _wait(sessions.ask(lambda ledger: ledger.store.idle()))
        store_bytes = sum(path.stat().st_size for path in folder.iterdir())
        cold = [_resume(sessions, pool, session_id, cold=True) for session_id in chosen]
        forks = [_fork(sessions, session_id) for session_id in chosen]
    finally:
        sessions.close()
    return Parked(
        sessions=num_sessions,
        state_bytes=num_sessions * state_bytes(config),
        resident=resident,
        store=store_bytes,
        host_p50=statistics.median(host),
        host_p99=percentile(host, 99),
        store_p50=statistics.median(cold),
        store_p99=percentile(cold, 99),
        fork_p99=percentile(forks, 99),
        commit_p50=statistics.median(commits),
        commit_p99=percentile(commits, 99),
    )


def _open(config: ModelConfig, folder: Path, num_sessions: int) -> SessionManager:
    policy = SessionPolicy(
        max_sessions=2 * num_sessions + SAMPLES,
        rollback_turns=0,
        host_state_bytes=(2 * num_sessions + SAMPLES) * state_bytes(config),
    )
    store = SqliteStore(folder / "sessions.sqlite")
    sessions = SessionManager(
        Ledger(
            store, model_kind(PRESET, config, state_parts(config)), policy, ServerMetrics().of_model(PRESET)
        )
    )
    sessions.start()
    return sessions


def _park(sessions: SessionManager, config: ModelConfig, count: int) -> list[str]:
    """Make sessions with one turn each. Some turns end together, as on a busy server."""
    ids, room = [], Semaphore(_AT_ONCE)
    for _ in range(count):
        session_id = _wait(sessions.ask(directory.create, OWNER)).id
        turn = _wait(sessions.ask(begin_turn, session_id, OWNER, "bench"))
        assert isinstance(turn, Turn)
        room.acquire()
        sessions.commit(turn, _result(config), lambda _: room.release())
        ids.append(session_id)
    sessions.flush(600)
    return ids


def _turn(sessions: SessionManager, session_id: str, config: ModelConfig) -> float:
    """Return the seconds from the end of a turn until it is durable."""
    turn = _wait(sessions.ask(begin_turn, session_id, OWNER, "bench"))
    assert isinstance(turn, Turn)
    result, done = _result(config), Future[object]()
    began = time.perf_counter()
    sessions.commit(turn, result, done.set_result)
    done.result()
    return time.perf_counter() - began


def _fork(sessions: SessionManager, session_id: str) -> float:
    """Return the seconds of a fork."""
    began = time.perf_counter()
    _wait(sessions.ask(branches.fork, session_id, OWNER))
    return time.perf_counter() - began


def _result(config: ModelConfig) -> TurnResult:
    data = torch.randint(0, 255, (state_bytes(config),), dtype=torch.uint8)
    return TurnResult(range(TURN_TOKENS), StateSnapshot(state_parts(config), data), (), 0, TURN_TOKENS)


def _resume(sessions: SessionManager, pool: RecurrentState, session_id: str, *, cold: bool = False) -> float:
    """Return the seconds of a resume. cold: the session is only in the store."""
    if cold:
        _wait(sessions.ask(lambda ledger: ledger.host.drop(session_id)))
    began = time.perf_counter()
    turn = _wait(sessions.ask(begin_turn, session_id, OWNER, "bench"))
    assert isinstance(turn, Turn)
    pool.restore(0, turn.snapshot)
    seconds = time.perf_counter() - began
    _wait(sessions.ask(abandon_turn, turn))
    return seconds


def _wait(future: Future[T]) -> T:
    return future.result(600)


def _ms(*seconds: float) -> str:
    return " / ".join(f"{value * 1e3:.2f}" for value in seconds) + " ms"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure; default: where temporary files go"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(measure(arguments.sessions, Path(folder)))


if __name__ == "__main__":
    main()
