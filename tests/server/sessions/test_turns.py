"""Sessions without an engine: ownership, one writer, whole turns, time to live, paging."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.errors import Conflict, Expired, NotFound, StoreFailed, TooManyRequests
from pararnn_server.metrics.tiers import TierTotal
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.ledger import TOMBSTONE_SECONDS, Ledger
from pararnn_server.sessions.stores.store import Change

from tests.server.session_fixtures import ADA, BOB, SIZE, Clock, Sessions, build_sessions, result


def build(**policy: int) -> tuple[Sessions, Clock]:
    clock = Clock()
    return build_sessions(clock=clock, **policy), clock


def test_an_empty_session_already_holds_its_state() -> None:
    manager, clock = build()
    info = manager.create(ADA, {"k": "v"}, ttl_seconds=60)
    assert re.fullmatch(r"sess_[0-9a-f]{32}", info.id)
    assert (info.num_tokens, info.turn, info.state_bytes, info.tier) == (0, 0, SIZE, "host")
    assert (info.created_at, info.expires_at) == (int(clock.now), int(clock.now) + 60)
    assert (info.object, info.model, info.metadata, info.parent_id) == ("session", "tiny", {"k": "v"}, None)
    assert not manager.begin_turn(info.id, ADA, "r").snapshot.buffer.any()


def test_state_bytes_are_constant_in_length_and_the_log_is_four_bytes_a_token() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    for count in (1, 999, 49_000):
        manager.keep(manager.begin_turn(session, ADA, "r"), result([7] * count))
    info = manager.get(session, ADA)
    assert (info.num_tokens, info.state_bytes, info.history_bytes) == (50_000, SIZE, 200_000)
    log = manager.stored(session).token_ids
    assert len(log) * log.itemsize == info.history_bytes


def test_commit_replaces_the_turn_as_a_whole() -> None:
    manager, clock = build()
    session = manager.create(ADA).id
    clock.now += 5
    turn = manager.begin_turn(session, ADA, "r1")
    clock.now += 2.5
    info = manager.keep(turn, result([1, 2, 3], pending=(3,), fill=9))
    assert (info.turn, info.num_tokens, info.last_used_at) == (1, 3, int(clock.now))
    following = manager.begin_turn(session, ADA, "r2")
    assert (following.pending_ids, following.num_tokens) == ((3,), 3)
    assert following.snapshot.buffer.eq(9).all()
    assert manager.token_ids(session) == [1, 2, 3]
    [numbers] = manager.history(session, ADA)
    assert (numbers.turn, numbers.prompt_tokens, numbers.num_tokens, numbers.duration_seconds) == (
        1,
        3,
        3,
        2.5,
    )


def test_an_abandoned_turn_leaves_the_last_commit() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    manager.keep(manager.begin_turn(session, ADA, "r1"), result([1, 2], pending=(2,), fill=5))
    before = manager.get(session, ADA)
    manager.abandon(manager.begin_turn(session, ADA, "r2"))
    assert manager.get(session, ADA) == before
    turn = manager.begin_turn(session, ADA, "r3")
    assert (turn.pending_ids, manager.token_ids(session)) == ((2,), [1, 2])
    assert turn.snapshot.buffer.eq(5).all()


def test_one_writer_at_a_time_while_reads_see_the_last_commit() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    turn = manager.begin_turn(session, ADA, "r1")
    with pytest.raises(Conflict) as busy:
        manager.begin_turn(session, ADA, "r2")
    assert busy.value.headers["x-should-retry"] == "false"
    info = manager.get(session, ADA)
    assert (info.turn, info.tier, manager.running_request(session, ADA)) == (0, "device", "r1")
    totals = manager.page(ADA).totals
    assert (totals["device"], totals["host"]) == (
        TierTotal(1, SIZE),
        TierTotal(0, manager.ledger.store.usage(ADA.encode()).nbytes),
    )
    manager.keep(turn, result([1]))
    assert manager.running_request(session, ADA) is None
    manager.abandon(turn)
    manager.begin_turn(session, ADA, "r3")


def test_expected_turn_guards_against_a_lost_answer() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    manager.keep(manager.begin_turn(session, ADA, "r1", expected_turn=0), result([1]))
    with pytest.raises(Conflict) as conflict:
        manager.begin_turn(session, ADA, "r2", expected_turn=0)
    assert (conflict.value.code, conflict.value.param) == ("turn_conflict", "expected_turn")
    manager.begin_turn(session, ADA, "r3", expected_turn=1)


def test_a_deleted_session_takes_no_late_commit() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    turn = manager.begin_turn(session, ADA, "r1")
    assert manager.delete(session, ADA) == "r1"
    with pytest.raises(NotFound):
        manager.keep(turn, result([1]))
    manager.abandon(turn)
    assert manager.totals()["host"].sessions == manager.totals()["device"].sessions == 0


def test_a_foreign_session_looks_like_an_unknown_one() -> None:
    manager, clock = build()
    session = manager.create(ADA, ttl_seconds=10).id
    for expired in (False, True):
        clock.now += 100 * expired
        answers = []
        for name in (session, "sess_" + "0" * 32):
            for call in (manager.get, manager.history, manager.delete, manager.running_request):
                with pytest.raises(NotFound) as error:
                    call(name, BOB)
                answers.append(str(error.value.body()).replace(name, "ID"))
            with pytest.raises(NotFound) as error:
                manager.begin_turn(name, BOB, "r")
            answers.append(str(error.value.body()).replace(name, "ID"))
        assert all(answer == answers[0] for answer in answers)
    assert manager.page(BOB).sessions == []


def test_an_expired_session_is_gone_for_its_owner_and_forgotten_after_a_week() -> None:
    manager, clock = build()
    session = manager.create(ADA, ttl_seconds=10).id
    clock.now += 10
    manager.now(Ledger.sweep)
    assert manager.page(ADA).sessions == []
    assert manager.ledger.store.load(session) is None
    with pytest.raises(Expired):
        manager.get(session, ADA)
    clock.now += TOMBSTONE_SECONDS
    with pytest.raises(NotFound):
        manager.get(session, ADA)


def test_use_renews_the_time_to_live() -> None:
    manager, clock = build()
    session = manager.create(ADA, ttl_seconds=10).id
    for _ in range(5):
        clock.now += 8
        manager.keep(manager.begin_turn(session, ADA, "r"), result([1]))
    assert manager.get(session, ADA).expires_at == int(clock.now) + 10
    clock.now += 11
    manager.now(Ledger.sweep)
    assert manager.totals()["host"].sessions == 0


@pytest.mark.parametrize("commits", [True, False])
def test_a_session_does_not_expire_under_its_turn(commits: bool) -> None:
    manager, clock = build()
    session = manager.create(ADA, ttl_seconds=10).id
    turn = manager.begin_turn(session, ADA, "r")
    clock.now += 100
    assert manager.get(session, ADA).turn == 0
    if commits:
        assert manager.keep(turn, result([1])).expires_at == int(clock.now) + 10
        clock.now += 11
    else:
        manager.abandon(turn)
    manager.now(Ledger.sweep)
    assert manager.ledger.store.load(session) is None
    with pytest.raises(Expired):
        manager.get(session, ADA)


def test_one_session_too_many_is_refused_until_one_goes() -> None:
    manager, _ = build(max_sessions=2)
    sessions = [manager.create(ADA).id for _ in range(2)]
    with pytest.raises(TooManyRequests) as error:
        manager.create(ADA)
    assert error.value.code == "quota"
    manager.create(BOB)
    manager.delete(sessions[1], ADA)
    manager.create(ADA)


def test_history_keeps_the_last_256_turns() -> None:
    manager, _ = build()
    session = manager.create(ADA).id
    for _ in range(300):
        manager.keep(manager.begin_turn(session, ADA, "r"), result([1]))
    turns = [numbers.turn for numbers in manager.history(session, ADA)]
    assert turns == list(range(45, 301))


@given(owners=st.lists(st.sampled_from([ADA, BOB]), max_size=30), limit=st.integers(1, 7), data=st.data())
def test_pages_hold_every_session_once_even_if_others_go_between(
    owners: list[str], limit: int, data: st.DataObject
) -> None:
    manager, _ = build()
    own = sorted(manager.create(owner).id for owner in owners if owner == ADA)
    for owner in owners:
        if owner != ADA:
            manager.create(owner)
    deleted = set(data.draw(st.lists(st.sampled_from(own), unique=True))) if own else set()
    seen: list[str] = []
    has_more, after = True, ""
    while has_more:
        page = manager.page(ADA, limit, after)
        seen += [info.id for info in page.sessions]
        assert len(page.sessions) == limit or not page.has_more
        has_more, after = page.has_more, seen[-1] if seen else ""
        for session in deleted & set(seen):
            manager.delete(session, ADA)
            deleted.remove(session)
    assert seen == own
    left = manager.page(ADA, limit=100)
    assert left.totals["host"].sessions == len(left.sessions)


def test_a_damaged_session_hides_no_other_and_can_be_deleted() -> None:
    manager, _ = build()
    ids = sorted(manager.create(ADA).id for _ in range(70))
    store = manager.ledger.store
    for broken in (ids[3], ids[-1]):
        head = store.load(broken)
        assert head is not None
        damaged = bytes([head.head[0] ^ 1]) + head.head[1:]
        assert store.commit([[Change(broken, ADA.encode(), head.version, damaged)]]) == [None]
    page = manager.page(ADA, limit=100)
    assert [info.id for info in page.sessions] == [one for one in ids if one not in (ids[3], ids[-1])]
    assert (page.damaged, page.last_id, page.has_more) == ([ids[3], ids[-1]], ids[-1], False)
    first = manager.page(ADA, limit=4)
    assert (first.damaged, first.last_id, first.has_more) == ([ids[3]], ids[3], True)
    assert manager.page(ADA, after=ids[-2]).damaged == [ids[-1]]
    assert sum(total.sessions for total in page.totals.values()) == len(ids)
    for broken in (ids[3], ids[-1]):
        with pytest.raises(StoreFailed):
            manager.get(broken, ADA)
        with pytest.raises(NotFound):
            manager.delete(broken, BOB)
        manager.delete(broken, ADA)
    assert sum(total.sessions for total in manager.page(ADA).totals.values()) == len(ids) - 2


def test_a_long_page_is_read_in_pieces() -> None:
    manager, _ = build()
    for _ in range(100):
        manager.create(ADA)
    pieces = list(directory.page(manager.ledger, ADA, 100))
    assert len(pieces) == -(-100 // directory.PIECE_SESSIONS)
