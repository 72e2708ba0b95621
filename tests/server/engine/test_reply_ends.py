"""Fields that say how a reply may end: min_tokens, stop_token_ids, the stop that is part of the text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pararnn_core.sampling_params import SamplingParams
from tests.server.engine.test_decode_ahead import Counted, packed
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    SPELLINGS,
    TOKEN_BYTES,
    Bench,
    Reader,
    assert_session_is_whole,
    greedy,
    model,
    running,
)
from tests.server.token_masks import Only, Rising

EOS = model().config.eos_token_id
assert EOS is not None
ENDS_AT_ONCE = SamplingParams(max_tokens=12, temperature=0, logit_bias={EOS: 100.0})
LETTERS = SamplingParams(max_tokens=40, seed=3, ignore_eos=True, logit_bias=LETTER_BIAS)


@pytest.mark.parametrize("ahead", [False, True], ids=["waits", "ahead"])
def test_no_end_is_drawn_before_min_tokens(ahead: bool) -> None:
    counted = Counted()
    with running(counted.model if ahead else None, max_num_seqs=4) as bench:
        neighbour = bench.submit([7], greedy(12))
        for count in (1, 2, 5, 12):
            params = replace(ENDS_AT_ONCE, min_tokens=count)
            reader = bench.ask([1, 2], params, num_choices=2)
            assert [len(reader.ids(choice)) for choice in (0, 1)] == [count, count]
            assert {one.finish_reason for one in reader.finished} == {"stop" if count < 12 else "length"}
        assert len(neighbour.wait().ids()) == 12
    assert not ahead or counted.steps_ahead


def test_first_ids_are_the_likeliest_of_those_that_do_not_end() -> None:
    unbiased = replace(ENDS_AT_ONCE, logit_bias={EOS: -100.0}, max_tokens=5)
    with running() as bench:
        expected = bench.ask([1, 2], unbiased).ids()
        assert bench.ask([1, 2], replace(ENDS_AT_ONCE, min_tokens=5)).ids() == expected


def test_min_tokens_and_a_mask_both_hold_and_the_mask_wins() -> None:
    params = replace(ENDS_AT_ONCE, min_tokens=4)
    with running() as bench:
        assert len(bench.ask([1], params, token_mask=Only([5, EOS])).ids()) == 4
        assert bench.ask([1], params, token_mask=Only([EOS])).ids() == []
        rising = bench.ask([1], replace(params, stop_token_ids=(264,)), token_mask=Rising()).ids()
        assert rising == sorted(rising)
        assert not {EOS, 264} & set(rising[:4])


def test_slot_that_was_restricted_is_free_for_the_next_request() -> None:
    with running(max_num_seqs=1) as bench:
        assert len(bench.ask([1], replace(ENDS_AT_ONCE, min_tokens=12)).ids()) == 12
        assert bench.ask([1], ENDS_AT_ONCE).ids() == []


def test_stop_token_ends_the_reply_like_an_eos() -> None:
    with running() as bench:
        plain = bench.ask([1, 2], LETTERS).ids()
        stop = plain[10]
        reader = bench.ask([1, 2], replace(LETTERS, stop_token_ids=(stop,)))
        assert (reader.finish.finish_reason, reader.finish.stop_reason) == ("stop", stop)
        assert reader.ids() == plain[: plain.index(stop)]


def test_stop_string_is_not_looked_for_before_min_tokens() -> None:
    with running() as bench:
        plain = bench.ask([1, 2], LETTERS)
        pieces = [TOKEN_BYTES[token_id].decode() for token_id in plain.ids()]
        stop = pieces[3]
        late = replace(LETTERS, stop=(stop,), min_tokens=20)
        reader = bench.ask([1, 2], late)
        assert len(reader.ids()) >= 20
        assert reader.text().startswith("".join(pieces[:20]).encode())
        assert stop not in "".join(pieces[20:])[: len(reader.text()) - len("".join(pieces[:20]))]


def assert_stop_is_shown(bench: Bench, reader: Reader, stop: str, session: str) -> None:
    assert reader.finish.stop_reason == stop
    text = reader.text().decode()
    assert text.endswith(stop)
    assert stop not in text[:-1]
    assert_session_is_whole(bench.sessions, session, model())


@pytest.mark.parametrize("stop", ["abc", "ca", "bcab"])
def test_included_stop_string_is_part_of_text_and_session(stop: str) -> None:
    params = replace(LETTERS, max_tokens=400, stop=(stop,), include_stop_str_in_output=True)
    with running() as bench:
        session = bench.sessions.create().id
        for seed in range(6):
            reader = bench.ask([seed, 5], replace(params, seed=seed), session_id=session)
            assert_stop_is_shown(bench, reader, stop, session)


def test_included_stop_token_is_part_of_text_and_session() -> None:
    params = replace(LETTERS, stop_token_ids=(259,), include_stop_str_in_output=True, max_tokens=400)
    with running() as bench:
        session = bench.sessions.create().id
        reader = bench.ask([1, 5], params, session_id=session)
        assert reader.finish.stop_reason == 259
        assert reader.ids()[-1] == 259
        assert reader.text().endswith(b"abc")
        assert_session_is_whole(bench.sessions, session, model())
        assert bench.sessions.get(session).num_tokens == 2 + len(reader.ids())


def test_special_tokens_are_spelled_where_they_are_asked_for() -> None:
    special = next(iter(SPELLINGS))
    params = greedy(3, logit_bias={special: 100.0})
    with running() as bench:
        hidden, spelled = (
            bench.ask([1], replace(params, skip_special_tokens=skips, logprobs=1)) for skips in (True, False)
        )
        assert hidden.text() == b""
        assert spelled.text() == SPELLINGS[special].encode() * 3
        assert hidden.ids() == spelled.ids()
        rows = [[row for event in one.events() for row in event.logprobs or ()] for one in (hidden, spelled)]
        assert rows[0] == rows[1]
        stopped = bench.ask([1], replace(params, skip_special_tokens=False, stop=(">",)))
        assert stopped.text() == SPELLINGS[special].encode()[:-1]


def test_included_eos_shows_only_where_it_has_a_text() -> None:
    params = replace(ENDS_AT_ONCE, include_stop_str_in_output=True)
    with running() as bench:
        for over in ({}, {"skip_special_tokens": False}):
            reader = bench.ask([1], replace(params, **over))
            assert reader.finish.stop_reason is None
            assert bool(reader.ids()) == bool(EOS in SPELLINGS and over)


@pytest.mark.parametrize("ahead", [False, True], ids=["waits", "ahead"])
def test_banned_sequences_are_in_no_reply(ahead: bool) -> None:
    counted = Counted()
    banned = ((97,), (98, 99), (256, 98), (259,))
    params = replace(LETTERS, max_tokens=200, banned_sequences=banned)
    with running(counted.model if ahead else None, max_num_seqs=4) as bench:
        free = bench.ask([1, 2], replace(params, banned_sequences=()))
        reader = bench.ask([1, 2], params, num_choices=2)
    assert any(_holds(free.ids(), sequence) for sequence in banned)
    for choice in (0, 1):
        assert len(reader.ids(choice)) == 200
        assert not any(_holds(reader.ids(choice), sequence) for sequence in banned)


def _holds(ids: list[int], sequence: tuple[int, ...]) -> bool:
    return any(tuple(ids[i : i + len(sequence)]) == sequence for i in range(len(ids)))


def test_banned_sequences_go_with_a_mask_and_min_tokens() -> None:
    params = replace(ENDS_AT_ONCE, min_tokens=3, banned_sequences=((5,),))
    with running() as bench:
        assert bench.ask([1], params, token_mask=Only([5, 6, EOS])).ids() == [6, 6, 6]


def test_a_window_counts_the_last_ids_of_prompt_and_reply() -> None:
    """A window as long as the context is the context; a shorter one forgets."""
    params = greedy(30, repetition_penalty=1.8)
    with running() as bench:
        whole = bench.ask([1, 2, 3], params).ids()
        assert bench.ask([1, 2, 3], replace(params, repeat_last_n=33)).ids() == whole
        assert bench.ask([1, 2, 3], replace(params, repeat_last_n=-1)).ids() == whole
        free = bench.ask([1, 2, 3], greedy(30)).ids()
        assert bench.ask([1, 2, 3], replace(params, repeat_last_n=0)).ids() == free
        flat = replace(params, logit_bias={20: 100.0, 21: 100.0, 22: 100.0}, repetition_penalty=100.0)
        ids = bench.ask([1], replace(flat, repeat_last_n=2)).ids()
        assert set(ids) == {20, 21, 22}
        assert all(len(set(ids[i : i + 3])) == 3 for i in range(len(ids) - 2))


def test_a_window_is_that_of_the_request_in_any_company() -> None:
    counted = Counted()
    params = greedy(30, repetition_penalty=1.8, repeat_last_n=4)
    with running(packed()) as bench:
        alone_ids = bench.ask([1, 2, 3], params).ids()
    with running(counted.model, max_num_seqs=4) as bench:
        neighbour = bench.submit([1, 2, 3], greedy(40, repetition_penalty=1.8))
        assert bench.ask([1, 2, 3], params).ids() == alone_ids
        neighbour.wait()
