"""The store's thread: order of work, and effects of a failing store on turns."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from pararnn_server.errors import ServerError, StoreFailed, Unavailable
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.store import Commit, StaleWrite

from tests.server.session_fixtures import ADA, build_sessions, result


class SlowStore(MemoryStore):
    """Commits wait for `gate`; sessions whose id is in `broken` cannot be written."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.batches: list[int] = []
        self.broken: set[str] = set()

    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        self.batches.append(len(commits))
        self.began.set()
        assert self.gate.wait(20)
        if any(change.session_id in self.broken for commit in commits for change in commit):
            raise StoreFailed("full", code="store_full")
        return super().commit(commits)


class Outcomes:
    """Outcomes that ending turns received, and the threads that delivered them."""

    def __init__(self) -> None:
        self.told: list[SessionInfo | ServerError] = []
        self.threads: set[str] = set()

    def __call__(self, outcome: SessionInfo | ServerError) -> None:
        self.told.append(outcome)
        self.threads.add(threading.current_thread().name)


def test_turns_that_end_while_the_store_works_go_in_one_commit() -> None:
    store, outcomes = SlowStore(), Outcomes()
    manager = build_sessions(store, threaded=True)
    turns = [manager.begin_turn(manager.create(ADA).id, ADA) for _ in range(20)]
    store.batches.clear()
    store.gate.clear()
    store.began.clear()
    manager.commit(turns[0], result([1]), outcomes)
    assert store.began.wait(20)
    for turn in turns[1:]:
        manager.commit(turn, result([1]), outcomes)
    assert outcomes.told == []
    store.gate.set()
    manager.flush(20)
    assert store.batches == [1, 19]
    assert outcomes.threads == {"store"}
    assert all(isinstance(told, SessionInfo) and told.turn == 1 for told in outcomes.told)
    manager.close()


def test_one_turn_that_cannot_be_kept_costs_no_other() -> None:
    store, outcomes = SlowStore(), Outcomes()
    manager = build_sessions(store, threaded=True)
    sessions = [manager.create(ADA).id for _ in range(5)]
    turns = [manager.begin_turn(session, ADA) for session in sessions]
    store.broken.add(sessions[2])
    store.gate.clear()
    for turn in turns:
        manager.commit(turn, result([1, 2]), outcomes)
    store.gate.set()
    manager.flush(20)
    failed = [told for told in outcomes.told if isinstance(told, ServerError)]
    assert [error.code for error in failed] == ["store_full"]
    assert [manager.get(session, ADA).turn for session in sessions] == [1, 1, 0, 1, 1]
    assert manager.running_request(sessions[2], ADA) is None
    store.broken.clear()
    assert manager.say(sessions[2], ADA, 3).turn == 1
    manager.close()


class Forgetful(MemoryStore):
    """Takes commits, and is gone when a claim is to be given back."""

    def release(self, session_id: str, fence: int) -> None:
        raise StoreFailed("gone", code="store_unreachable")


def test_a_turn_that_is_kept_is_told_so_though_its_lease_cannot_be_given_back() -> None:
    manager = build_sessions(Forgetful(), threaded=True)
    sessions = [manager.create(ADA).id for _ in range(3)]
    for session in sessions:
        assert manager.say(session, ADA, 1).turn == 1
    manager.abandon(manager.begin_turn(sessions[0], ADA))
    assert manager.running_request(sessions[0], ADA) is None
    manager.close()


def test_an_end_that_was_asked_for_first_is_seen_by_whoever_asks_next() -> None:
    store, outcomes = SlowStore(), Outcomes()
    manager = build_sessions(store, threaded=True)
    session = manager.create(ADA).id
    for expected in range(1, 30):
        turn = manager.begin_turn(session, ADA)
        manager.commit(turn, result([1]), outcomes)
        assert manager.get(session, ADA).turn == expected
    manager.close()


def test_a_question_that_fails_fails_alone() -> None:
    manager = build_sessions(threaded=True)

    def broken(_: object) -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError):
        manager.now(broken)
    assert manager.create(ADA).turn == 0
    manager.close()


def test_what_is_asked_before_the_end_is_done_and_nothing_after_it() -> None:
    store = SlowStore()
    manager = build_sessions(store, threaded=True)
    store.gate.clear()
    asked = [manager.ask(directory.create, ADA) for _ in range(10)]
    closing = threading.Thread(target=manager.close)
    closing.start()
    store.gate.set()
    closing.join(20)
    assert len({future.result(20).id for future in asked}) == 10
    with pytest.raises(Unavailable):
        manager.create(ADA)
