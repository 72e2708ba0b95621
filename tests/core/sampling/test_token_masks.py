"""Only ids that a mask allows are drawn, as if the vocabulary had no others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core.sampling import reference_sampler
from pararnn_core.sampling.mask_words import (
    MaskWords,
    allows_nothing,
    check_mask,
    flags_of,
    mask_of,
    num_words,
)
from pararnn_core.sampling.sampled import NonFiniteLogits, NothingAllowed, SampleRow
from pararnn_core.sampling.sampler import sample
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.sampling_params import SamplingParams

VOCAB = 70
SEEN = torch.from_numpy(np.packbits(np.arange(72) % 3 == 0, bitorder="little"))
COUNTS = {3: 2, 40: 1}

options = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.01, 0.7, 1.0, 3.0]),
        "top_k": st.sampled_from([0, 1, 2, 5, 1000]),
        "top_p": st.sampled_from([0.0, 0.1, 0.9, 1.0]),
        "min_p": st.sampled_from([0.0, 0.05, 1.0]),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 1.3]),
        "presence_penalty": st.sampled_from([-1.0, 0.0, 1.5]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "logit_bias": st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), max_size=3),
        "seed": st.integers(-(2**63), 2**63 - 1),
    }
)
allowed_ids = st.sets(st.integers(0, VOCAB - 1), min_size=1)


def logits_of(seed: int, rows: int = 1) -> torch.Tensor:
    """Multiples of 1/4: many exact ties."""
    return (torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 12).round() / 4


@given(st.integers(1, 100), st.data())
def test_a_mask_holds_the_ids_that_it_was_made_of(vocab_size: int, data: st.DataObject) -> None:
    ids = data.draw(st.sets(st.integers(0, vocab_size - 1)))
    words = mask_of(ids, vocab_size)
    check_mask(words, vocab_size)
    assert set(np.flatnonzero(flags_of(words, vocab_size)).tolist()) == ids
    assert all((int(words[i // 32]) >> i % 32 & 1) == (i in ids) for i in range(vocab_size))
    assert allows_nothing(words, vocab_size) == (not ids)


@pytest.mark.parametrize("vocab_size", [1, 31, 33, VOCAB])
def test_bits_beyond_the_vocabulary_allow_nothing(vocab_size: int) -> None:
    words = np.zeros(num_words(vocab_size), np.int32)
    words[-1] = -1 << vocab_size % 32
    assert allows_nothing(words, vocab_size)
    assert not flags_of(words, vocab_size).any()


def test_a_mask_of_whole_words_has_no_bits_beyond() -> None:
    words = np.array([0, -(2**31)], np.int32)
    assert not allows_nothing(words, 64)
    assert np.flatnonzero(flags_of(words, 64)).tolist() == [63]


@settings(deadline=None)
@given(options, st.integers(0, 2**32), allowed_ids, st.integers(0, 50))
def test_forbidden_ids_are_as_if_the_vocabulary_had_none_of_them(
    fields: dict[str, Any], seed: int, ids: set[int], index: int
) -> None:
    """The same draw from a vocabulary of the allowed ids alone, numbered anew."""
    logits, kept = logits_of(seed), sorted(ids)
    place = {token: i for i, token in enumerate(kept)}
    params = SamplingParams(**fields)
    row = SampleRow(params, 1, index, COUNTS, SEEN, mask_of(ids, VOCAB))
    smaller = replace(params, logit_bias={place[i]: b for i, b in params.logit_bias.items() if i in ids})
    seen = np.unpackbits(SEEN.numpy(), bitorder="little")[kept]
    counts = {place[i]: count for i, count in COUNTS.items() if i in ids}
    alone = SampleRow(smaller, 1, index, counts, torch.from_numpy(np.packbits(seen, bitorder="little")))
    [sampled] = sample(logits, [row])
    [expected] = sample(logits[:, kept].contiguous(), [alone])
    assert sampled.token_id == kept[expected.token_id]


@settings(deadline=None)
@given(options, st.integers(0, 2**32), st.integers(0, 50))
def test_a_mask_that_allows_all_ids_changes_no_draw(fields: dict[str, Any], seed: int, index: int) -> None:
    logits, params = logits_of(seed), SamplingParams(**fields)
    row = SampleRow(params, 0, index, COUNTS, SEEN)
    everything = np.full(num_words(VOCAB), -1, np.int32)
    assert sample(logits, [row]) == sample(logits, [replace(row, mask=everything)])


def test_the_likeliest_allowed_id_is_taken_at_temperature_zero() -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, [5, 64, 69]] = torch.tensor([9.0, 3.0, 3.0])
    row = SampleRow(SamplingParams(temperature=0.0), mask=mask_of({4, 64, 69}, VOCAB))
    assert sample(logits, [row])[0].token_id == 64


def test_no_bias_lifts_a_forbidden_id() -> None:
    row = SampleRow(SamplingParams(logit_bias={7: 100.0}), mask=mask_of({8}, VOCAB))
    assert sample(torch.zeros(1, VOCAB), [row])[0].token_id == 8


def test_log_probabilities_are_those_before_the_mask() -> None:
    logits = logits_of(3)
    params = SamplingParams(temperature=0.0, logprobs=3)
    [free] = sample(logits, [SampleRow(params)])
    [masked] = sample(logits, [SampleRow(params, mask=mask_of({17}, VOCAB))])
    exact = torch.log_softmax(logits[0].double(), dim=-1)
    assert masked.token_id == 17
    assert masked.logprob == pytest.approx(exact[17].item(), abs=1e-12)
    assert masked.top == free.top


def empty_masks() -> list[SampleRow]:
    words = np.zeros(num_words(VOCAB), np.int32)
    words[-1] = -1 << VOCAB % 32
    free = SampleRow(SamplingParams())
    return [
        free,
        replace(free, mask=words),
        replace(free, mask=mask_of({1}, VOCAB)),
        replace(free, mask=words),
    ]


def test_masks_that_allow_nothing_are_an_error_that_names_their_rows() -> None:
    rows, logits = empty_masks(), logits_of(1, 4)
    for refused in (lambda: sample(logits, rows), lambda: reference_sampler.sample(logits.numpy(), rows)):
        with pytest.raises(NothingAllowed, match=r"rows \[1, 3\] allow no token") as error:
            refused()
        assert error.value.rows == [1, 3]


@pytest.mark.parametrize(
    "fields", [{}, {"temperature": 0.0}, {"top_k": 2}, {"presence_penalty": 1.0}], ids=str
)
def test_a_row_whose_allowed_logits_are_all_minus_infinity_is_refused(fields: dict[str, Any]) -> None:
    logits = torch.zeros(2, VOCAB)
    logits[1, [2, 66]] = -math.inf
    row = SampleRow(SamplingParams(**fields), mask=mask_of({2, 66}, VOCAB))
    for refused in (
        lambda: sample(logits, [row] * 2),
        lambda: reference_sampler.sample(logits.numpy(), [row] * 2),
    ):
        with pytest.raises(NonFiniteLogits) as error:
            refused()
        assert error.value.rows == [1]


@pytest.mark.parametrize(
    "words",
    [np.ones(2, np.int32), np.ones(3, np.int64), np.ones((3, 1), np.int32), [1, 1, 1], torch.ones(3)],
    ids=str,
)
def test_words_that_are_no_mask_are_refused(words: Any) -> None:
    with pytest.raises(ValueError, match=r"a mask of 70 ids must be an int32 array of shape \(3,\)"):
        sample(torch.zeros(1, VOCAB), [SampleRow(SamplingParams(), mask=words)])
    with pytest.raises(ValueError, match="a mask of 70 ids"):
        SamplingTable(1, VOCAB).set_mask(0, words)


def drawn(table: SamplingTable, slot: int, logits: torch.Tensor) -> int:
    seen = torch.zeros(0, (VOCAB + 7) // 8, dtype=torch.uint8)
    [token] = table.sample(logits, torch.tensor([0]), torch.tensor([slot], dtype=torch.int32), seen)
    return token


def one_id(token: int) -> MaskWords:
    return mask_of({token}, VOCAB)


def test_a_mask_lives_as_long_as_the_request_of_its_slot() -> None:
    table, logits = SamplingTable(2, VOCAB), torch.zeros(1, VOCAB)
    logits[0, 30] = 5.0
    for slot in range(2):
        table.start(slot, SamplingParams(temperature=0.0))
    table.set_mask(0, one_id(9))
    assert [drawn(table, 0, logits), drawn(table, 0, logits), drawn(table, 1, logits)] == [9, 9, 30]
    table.set_mask(0, None)
    assert drawn(table, 0, logits) == 30
    for end in (table.clear, lambda slot: table.start(slot, SamplingParams(temperature=0.0))):
        table.set_mask(0, one_id(9))
        assert drawn(table, 0, logits) == 9
        end(0)
        assert drawn(table, 0, logits) == 30


def test_a_table_copies_the_words_and_keeps_them_where_new_ones_are_refused() -> None:
    table, logits, words = SamplingTable(1, VOCAB), torch.zeros(1, VOCAB), one_id(9)
    table.set_mask(0, words)
    words[:] = one_id(10)
    with pytest.raises(NothingAllowed):
        table.set_mask(0, np.zeros(num_words(VOCAB), np.int32))
    assert drawn(table, 0, logits) == 9


def test_a_mask_that_comes_between_two_draws_moves_no_counter() -> None:
    """Else one that comes in the middle of a reply would have its random numbers begin anew."""
    params = SamplingParams(seed=4, presence_penalty=0.5)
    table, logits = SamplingTable(1, VOCAB), logits_of(8)
    table.start(0, params)
    counts: dict[int, int] = {}
    for index in range(20):
        mask = mask_of(range(index % 3, VOCAB, 3), VOCAB) if index % 4 else None
        table.set_mask(0, mask)
        token = drawn(table, 0, logits)
        row = SampleRow(params, 0, index, dict(counts), None, mask)
        assert [token] == reference_sampler.sample(logits.numpy(), [row])
        counts[token] = counts.get(token, 0) + 1
