"""A request's token mask decides which ids its replies may have, and changes nothing of any other request."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from pararnn_server.engine.recorded_reply import recorded
from pararnn_server.engine.request import Tokens
from pararnn_server.engine.token_mask import TokenMask
from pararnn_server.errors import Internal
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.turn import Repeated
from pararnn_server.sessions.turns import begin_turn

from pararnn_core.sampling.mask_words import MaskWords, mask_of, num_words
from pararnn_core.sampling_params import SamplingParams
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    LETTER_IDS,
    TOKEN_BYTES,
    VOCAB_SIZE,
    Steps,
    alone,
    assert_session_is_whole,
    greedy,
    model,
    random,
    running,
)
from tests.server.session_fixtures import ANYBODY
from tests.server.token_masks import EVEN, Fails, Forks, OneAfterTheOther, Only, Rising

EOS = model().config.eos_token_id
assert EOS is not None

PARAMS = [
    greedy(12),
    random(7, 12),
    random(3, 12, top_p=0.9, top_k=40),
    random(5, 12, repetition_penalty=1.5, presence_penalty=0.5, logit_bias={1: 50.0, 2: 3.0}),
]


@pytest.mark.parametrize("params", PARAMS, ids=range(len(PARAMS)))
@pytest.mark.parametrize("mask", [Only(EVEN), Rising()], ids=["even", "rising"])
def test_a_masked_reply_is_that_of_the_plainest_loop(params: SamplingParams, mask: Forks) -> None:
    with running() as bench:
        ids = bench.ask([1, 2, 3], params, token_mask=mask).ids()
    assert ids == alone(model(), [1, 2, 3], params, token_mask=mask)
    assert len(ids) == 12
    assert ids == sorted(ids) if isinstance(mask, Rising) else not any(token % 2 for token in ids)


def test_a_reply_follows_a_fixed_sequence_and_is_free_after_it() -> None:
    sequence = [200, 3, 3, 264, 0]
    with running() as bench:
        ids = bench.ask([1, 2], greedy(9), token_mask=OneAfterTheOther(sequence)).ids()
    assert ids[:5] == sequence
    assert ids[5:] == alone(model(), [1, 2, *sequence], greedy(4))


def test_every_drawn_id_is_accepted_once_also_the_end() -> None:
    mask = OneAfterTheOther([200, 3, EOS])
    with running() as bench:
        reader = bench.ask([1, 2], SamplingParams(max_tokens=9), token_mask=mask)
    assert reader.finish.finish_reason == "stop"
    assert reader.ids() == [200, 3]
    [fork] = mask.forks
    assert (fork.accepted, fork.num_asked) == ([200, 3, EOS], 3)
    assert (mask.accepted, mask.num_asked) == ([], 0)


def test_a_mask_that_allows_only_the_end_ends_the_reply() -> None:
    with running() as bench:
        reader = bench.ask([1], SamplingParams(max_tokens=9), token_mask=Only([EOS]))
        assert (reader.ids(), reader.finish.finish_reason) == ([], "stop")
        ignored = bench.ask([1], greedy(3), token_mask=Only([EOS]))
        assert (ignored.ids(), ignored.finish.finish_reason) == ([EOS] * 3, "length")


def test_a_mask_without_the_end_keeps_the_reply_going() -> None:
    params = SamplingParams(max_tokens=6, temperature=0.0, logit_bias={EOS: 100.0})
    with running() as bench:
        assert bench.ask([1], params).ids() == []
        reader = bench.ask([1], params, token_mask=Only(range(EOS + 1, VOCAB_SIZE)))
    assert (len(reader.ids()), reader.finish.finish_reason) == (6, "length")


def test_no_mask_is_asked_where_no_token_is_wanted() -> None:
    mask = Only(EVEN)
    with running() as bench:
        assert bench.ask([1, 2], greedy(0), token_mask=mask).finish.finish_reason == "length"
    assert [fork.num_asked for fork in mask.forks] == [0]


def test_neighbours_of_masked_requests_get_the_tokens_that_they_get_alone() -> None:
    steps = Steps(max_num_seqs=8, max_num_batched_tokens=16)
    free = [steps.add([i, 9] * (i + 1), replace(PARAMS[i], max_tokens=25))[1] for i in range(4)]
    masked = [steps.add([i, 9], replace(PARAMS[i], max_tokens=9), token_mask=Only(EVEN))[1] for i in range(4)]
    steps.finish()
    for i, reader in enumerate(free):
        assert reader.ids() == alone(model(), [i, 9] * (i + 1), replace(PARAMS[i], max_tokens=25))
    for i, reader in enumerate(masked):
        params = replace(PARAMS[i], max_tokens=9)
        assert reader.ids() == alone(model(), [i, 9], params, token_mask=Only(EVEN))


def test_a_slot_forgets_the_mask_of_the_request_before() -> None:
    steps = Steps(max_num_seqs=1)
    for _ in range(3):
        _, masked = steps.add([1, 2], greedy(5), token_mask=Only(EVEN))
        _, free = steps.add([1, 2], greedy(5))
        steps.finish()
        assert free.ids() == alone(model(), [1, 2], greedy(5))
        assert not any(token % 2 for token in masked.ids())


def test_choices_of_one_seed_have_a_fork_each() -> None:
    mask = Rising()
    params = random(11, 10)
    with running() as bench:
        reader = bench.ask([1, 2, 3], params, num_choices=3, token_mask=mask)
    for choice in range(3):
        assert reader.ids(choice) == alone(model(), [1, 2, 3], params, choice, Rising())
        assert mask.forks[choice].accepted == reader.ids(choice)
    assert len({tuple(reader.ids(choice)) for choice in range(3)}) == 3


def test_turns_of_a_session_each_have_a_mask_of_their_own() -> None:
    """The first is masked, the second free, the third masked: one long reply with these masks is the same."""
    sequence = [8, 250, 7]
    with running() as bench:
        session = bench.sessions.create().id
        ids = bench.ask([1, 2], greedy(3), session_id=session, token_mask=OneAfterTheOther(sequence)).ids()
        free = bench.ask([], greedy(4), session_id=session).ids()
        even = bench.ask([], greedy(4), session_id=session, token_mask=Only(EVEN)).ids()
        assert_session_is_whole(bench.sessions, session, model())
        assert bench.sessions.token_ids(session) == [1, 2, *ids, *free, *even]
    assert ids == sequence
    assert free == alone(model(), [1, 2, *sequence], greedy(4))
    assert even == alone(model(), [1, 2, *sequence, *free], greedy(4), token_mask=Only(EVEN))


def test_ids_that_a_stop_string_takes_back_are_undone_beside_a_mask() -> None:
    mask = Only([*LETTER_IDS[:3], 256])
    params = random(3, 60, logit_bias=LETTER_BIAS, stop=("cabc", "aabb", "bca"))
    with running() as bench:
        session = bench.sessions.create().id
        text = b""
        for turn in range(3):
            params = replace(params, seed=turn)
            reader = bench.ask(list(b"x"), params, session_id=session, token_mask=mask)
            text += b"x" + reader.text()
            assert_session_is_whole(bench.sessions, session, model())
            session_ids = bench.sessions.token_ids(session)
            assert b"".join(TOKEN_BYTES[token] for token in session_ids) == text
            assert reader.finish.stop_reason in params.stop
            assert reader.finish.usage.completion_tokens == len(mask.forks[turn].accepted)


def test_a_reply_that_is_cancelled_keeps_what_its_mask_allowed() -> None:
    steps = Steps()
    session = steps.sessions.create().id
    request_id, reader = steps.add([1], greedy(100), session_id=session, token_mask=Only(EVEN))
    steps.step(6)
    steps.worker.cancel(request_id)
    assert reader.ids() == alone(model(), [1], greedy(6), token_mask=Only(EVEN))
    assert steps.sessions.token_ids(session) == [1, *reader.ids()]
    assert_session_is_whole(steps.sessions, session, model())


def test_a_repeated_request_is_answered_without_its_mask() -> None:
    mask = Only(EVEN)
    key = IdempotencyKey("key", "digest")
    with running() as bench:
        session = bench.sessions.create().id
        reader = bench.ask([1], greedy(4), session_id=session, idempotency_key=key, token_mask=mask)
        answer = bench.sessions.now(begin_turn, session, ANYBODY, "again", None, key)
    assert isinstance(answer, Repeated)
    said = [output for output in recorded(answer).outputs if isinstance(output, Tokens)]
    assert [token for output in said for token in output.token_ids] == reader.ids()
    assert [fork.num_asked for fork in mask.forks] == [4]


class Returns(Only):
    """Words as given."""

    def __init__(self, given: object) -> None:
        super().__init__(())
        self.given = given

    def copy(self) -> Returns:
        return Returns(self.given)

    def words(self) -> MaskWords | None:
        return self.given  # type: ignore[return-value]  # what a faulty mask gives


BEYOND = np.zeros(num_words(VOCAB_SIZE), np.int32)
BEYOND[-1] = -1 << VOCAB_SIZE % 32

FAULTS: dict[str, tuple[TokenMask, str]] = {
    "fork": (Fails("fork"), "failed"),
    "allowed at once": (Fails("allowed"), "failed"),
    "allowed later": (Fails("allowed", 3), "failed"),
    "accept at once": (Fails("accept"), "failed"),
    "accept later": (Fails("accept", 3), "failed"),
    "nothing": (Only(()), "allows no token"),
    "nothing but ids beyond the vocabulary": (Returns(BEYOND), "allows no token"),
    "a mask of another vocabulary": (Returns(mask_of([1], 33)), "failed"),
    "no mask": (Returns([1, 2, 3]), "failed"),
}


@pytest.mark.parametrize("num_choices", [1, 3])
@pytest.mark.parametrize("name", FAULTS)
def test_a_mask_that_fails_ends_its_own_request_with_one_error(
    name: str, num_choices: int, caplog: pytest.LogCaptureFixture
) -> None:
    mask, words = FAULTS[name]
    steps = Steps(max_num_seqs=6)
    _, before = steps.add([4], random(1, 12))
    _, reader = steps.add([5], random(2, 12), num_choices=num_choices, token_mask=mask)
    _, beside = steps.add([6], random(3, 12), token_mask=Only(EVEN))
    with caplog.at_level(logging.ERROR):
        steps.finish()
    assert reader.failed is not None
    assert isinstance(reader.failed.error, Internal)
    assert str(reader.failed.error) == f"the token mask of this request {words}"
    assert reader.finished == []
    assert reader.outputs[-1] is reader.failed
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert steps.worker.stats().state_slots_used == 0
    assert before.ids() == alone(model(), [4], random(1, 12))
    assert beside.ids() == alone(model(), [6], random(3, 12), token_mask=Only(EVEN))
    _, after = steps.add([7], random(4, 5))
    steps.finish()
    assert after.ids() == alone(model(), [7], random(4, 5))


def test_a_turn_whose_mask_fails_is_undone() -> None:
    with running() as bench:
        session = bench.sessions.create().id
        said = bench.ask([1], greedy(3), session_id=session).ids()
        for mask in (Fails("allowed", 2), Fails("accept", 2), Fails("fork"), Only(())):
            assert bench.ask([2], greedy(5), session_id=session, token_mask=mask).failed is not None
            assert bench.sessions.token_ids(session) == [1, *said]
            assert_session_is_whole(bench.sessions, session, model())
        assert bench.ask([], greedy(4), session_id=session).ids() == alone(model(), [1, *said], greedy(4))
