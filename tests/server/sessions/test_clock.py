"""A clock whose jumps end no session."""

from __future__ import annotations

import pytest
from pararnn_server.errors import Expired
from pararnn_server.sessions.clock import SteadyClock
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.stores.memory_store import MemoryStore

from tests.server.metrics_fixtures import new_metrics
from tests.server.session_fixtures import ADA, AtOnce, Sessions, kind_of


class Times:
    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.elapsed = 50.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.elapsed)


@pytest.mark.parametrize("jump", [86_400.0 * 365, -86_400.0 * 365, 3600.0])
def test_a_session_that_was_just_used_is_there_after_the_clock_jumped(jump: float) -> None:
    times = Times()
    ledger = Ledger(MemoryStore(), kind_of(), SessionPolicy(), new_metrics(), times.clock())
    manager = Sessions(ledger, AtOnce(ledger))
    session = manager.create(ADA, ttl_seconds=100.0).id
    times.passes(10)
    times.wall += jump
    manager.now(Ledger.sweep)
    assert manager.say(session, ADA, 1).turn == 1
    times.passes(99)
    manager.now(Ledger.sweep)
    assert manager.get(session, ADA).turn == 1
    times.passes(2)
    with pytest.raises(Expired):
        manager.get(session, ADA)


def test_small_corrections_are_followed_and_a_jump_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    times = Times()
    clock = times.clock()
    for _ in range(100):
        times.passes(60)
        times.wall += 1.5
        assert clock() == pytest.approx(times.wall)
    assert not caplog.records
    times.wall += 1000
    assert clock() == clock() == pytest.approx(times.wall - 1000)
    assert len(caplog.records) == 1
    times.wall -= 1000
    assert clock() == pytest.approx(times.wall)
