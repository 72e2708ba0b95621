"""min_tokens keeps the ids that end a reply out of its first ids, and changes nothing after them."""

import numpy as np

from pararnn_core.models.generate import generate
from pararnn_core.sampling.mask_words import flags_of, mask_of
from pararnn_core.sampling.min_tokens import MinTokens, ending_ids, min_tokens_of
from pararnn_core.sampling_params import SamplingParams
from tests.fixtures import tiny_model

VOCAB_SIZE = 265
EOS = 262


def allowed(words: np.ndarray | None) -> set[int]:
    return set(range(VOCAB_SIZE)) if words is None else set(np.flatnonzero(flags_of(words, VOCAB_SIZE)))


def test_ids_that_end_a_reply() -> None:
    params = SamplingParams(stop_token_ids=(3, 5))
    assert ending_ids(params, EOS) == {3, 5, EOS}
    assert ending_ids(params, None) == {3, 5}
    assert ending_ids(SamplingParams(stop_token_ids=(3,), ignore_eos=True), EOS) == {3}


def test_mask_is_that_of_the_request_without_the_ends_until_enough_ids_are_drawn() -> None:
    tokens = MinTokens(2, frozenset({3, EOS}), VOCAB_SIZE)
    grammar = mask_of([1, 3, 40], VOCAB_SIZE)
    assert allowed(tokens.restricted(None, 0)) == set(range(VOCAB_SIZE)) - {3, EOS}
    assert allowed(tokens.restricted(grammar, 1)) == {1, 40}
    assert tokens.restricted(None, 2) is None
    assert tokens.restricted(grammar, 2) is grammar


def test_mask_that_allows_only_an_end_wins() -> None:
    only_end = mask_of([EOS], VOCAB_SIZE)
    assert MinTokens(2, frozenset({EOS}), VOCAB_SIZE).restricted(only_end, 0) is only_end
    every_id = MinTokens(2, frozenset(range(VOCAB_SIZE)), VOCAB_SIZE)
    assert every_id.restricted(None, 0) is None


def test_nothing_is_restricted_where_nothing_ends_a_reply() -> None:
    assert min_tokens_of(SamplingParams(min_tokens=2, ignore_eos=True), EOS, VOCAB_SIZE) is None
    assert min_tokens_of(SamplingParams(), EOS, VOCAB_SIZE) is None


def test_generate_ends_with_the_first_end_that_is_late_enough() -> None:
    params = SamplingParams(max_tokens=9, temperature=0, min_tokens=4, logit_bias={EOS: 100.0})
    ids = list(generate(tiny_model(), [1, 2], params))
    assert len(ids) == 4
    assert EOS not in ids
