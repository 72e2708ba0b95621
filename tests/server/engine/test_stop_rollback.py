"""Copies for undoing: one that fits at any cut, never more than two, and few ids to feed again."""

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.engine.reply import Reply
from pararnn_server.engine.stop_rollback import StopRollback

from pararnn_core.sampling.sampler import Sampled
from pararnn_core.state import StateSnapshot
from tests.server.engine_fixtures import LETTER_IDS, TOKEN_BYTES


class Slot:
    """Stands for a slot whose state is the number of ids fed to it."""

    def __init__(self) -> None:
        self.num_fed = 0
        self.copies = 0

    def take(self) -> StateSnapshot:
        self.copies += 1
        return cast(StateSnapshot, self.num_fed)


@given(
    ids=st.lists(st.sampled_from([i for i in LETTER_IDS if TOKEN_BYTES[i]]), max_size=60),
    stops=st.lists(st.text("ab", min_size=1, max_size=12), min_size=1, max_size=3),
)
def test_every_cut_finds_a_copy_close_before_it(ids: list[int], stops: list[str]) -> None:
    longest = max(map(len, stops))
    slot, reply = Slot(), Reply(TOKEN_BYTES, stops)
    undo = StopRollback(slot.take)
    for num_fed, token_id in enumerate(ids):
        slot.num_fed = num_fed
        _, stop = reply.push(Sampled(token_id))
        if stop is not None:
            if reply.num_shown < num_fed:
                position, snapshot = undo.at_most(reply.num_shown)
                assert snapshot == position <= reply.num_shown
                assert reply.num_shown - position <= longest
            return
        undo.follow(num_fed, reply.num_shown, reply.holds_back)
        assert len(undo) <= 2


def test_nothing_is_copied_while_nothing_is_held_back() -> None:
    slot, reply = Slot(), Reply(TOKEN_BYTES, ["x"])
    undo = StopRollback(slot.take)
    for num_fed, token_id in enumerate(b"abcabc"):
        slot.num_fed = num_fed
        reply.push(Sampled(token_id))
        undo.follow(num_fed, reply.num_shown, reply.holds_back)
    assert slot.copies == 0


def test_a_match_that_keeps_moving_costs_a_copy_per_stop_length_not_per_id() -> None:
    slot, reply = Slot(), Reply(TOKEN_BYTES, ["a" * 50 + "b"])
    undo = StopRollback(slot.take)
    for num_fed in range(1000):
        slot.num_fed = num_fed
        reply.push(Sampled(ord("a")))
        undo.follow(num_fed, reply.num_shown, reply.holds_back)
        assert reply.num_shown - undo.at_most(reply.num_shown)[0] <= 51
        assert len(undo) <= 2
    assert slot.copies <= 2 + 1000 // 50
