"""The native sampler against the NumPy one: the same ids and the same bits in any batch."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pararnn_core import ops
from pararnn_core.sampling import reference_sampler
from pararnn_core.sampling.mask_words import MaskWords, num_words
from pararnn_core.sampling.sampled import NonFiniteLogits, SampleRow
from pararnn_core.sampling.sampler import sample, token_logprobs
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.sampling_params import SamplingParams

VOCAB_SIZES = (1, 2, 3, 15, 16, 17, 511, 512, 513, 1000, 4099)


def draw_params(rng: random.Random, vocab_size: int) -> SamplingParams:
    some = range(min(vocab_size, 30))
    return SamplingParams(
        temperature=rng.choice([0.0, 1e-310, 1e-3, 0.3, 0.8, 1.0, 1.0, 1.7, 50.0, 1e300]),
        top_k=rng.choice([0, 0, 1, 2, 40, 700, 10**12]),
        top_p=rng.choice([1.0, 1.0, 0.0, 1e-9, 0.5, 0.9, 0.95, 1.0 - 1e-12, 1.0 - 2.0**-53]),
        min_p=rng.choice([0.0, 0.0, 1e-6, 0.05, 1.0]),
        repetition_penalty=rng.choice([1.0, 1.0, 0.01, 0.7, 1.3, 100.0]),
        presence_penalty=rng.choice([0.0, 0.0, -2.0, 0.6]),
        frequency_penalty=rng.choice([0.0, 0.0, 0.25, 2.0]),
        logit_bias={i: rng.uniform(-100, 100) for i in rng.sample(some, rng.choice([0, 0, len(some) // 2]))},
        seed=rng.randrange(-(2**63), 2**63),
    )


def draw_row(rng: random.Random, vocab_size: int) -> SampleRow:
    counts = {rng.randrange(vocab_size): rng.randrange(1, 9) for _ in range(rng.choice([0, 3]))}
    seen = torch.tensor([rng.randrange(256) for _ in range((vocab_size + 7) // 8)], dtype=torch.uint8)
    index = rng.choice([rng.randrange(100), rng.randrange(2**64)])
    return SampleRow(draw_params(rng, vocab_size), rng.randrange(2**32), index, counts, seen)


def draw_mask(rng: random.Random, logits: Tensor) -> MaskWords:
    """Dense, sparse or a single id, at least one of a finite logit; random bits beyond the last."""
    words = np.zeros(num_words(len(logits)) * 32, np.bool_)
    share = rng.choice([0.0, 0.02, 0.5, 0.98])
    words[:] = np.random.default_rng(rng.randrange(2**32)).random(len(words)) < share
    words[rng.choice(logits.isfinite().nonzero()[:, 0].tolist())] = True
    return np.packbits(words, bitorder="little").view("<i4").astype(np.int32)


def with_masks(rng: random.Random, rows: list[SampleRow], logits: Tensor) -> list[SampleRow]:
    """Every second row gets one."""
    return [replace(row, mask=draw_mask(rng, logits[i])) if i % 4 < 2 else row for i, row in enumerate(rows)]


def draw_logits(generator: torch.Generator, rows: int, vocab_size: int) -> Tensor:
    """Rows of every kind: spread and flat, exact ties, banned ids, subnormal and huge ones."""
    logits = torch.randn(rows, vocab_size, generator=generator) * 4
    for i, row in enumerate(logits):
        kind = i % 6
        if kind == 1:
            row.copy_((row / 2).round())
        elif kind == 2:
            banned = torch.rand(vocab_size, generator=generator) < 0.5
            banned[i % vocab_size] = False
            row[banned] = -torch.inf
        elif kind == 3:
            row.mul_(1e-40)
        elif kind == 4:
            row.mul_(1e37).clamp_(-3.4e38, 3.4e38)
        elif kind == 5:
            row.fill_(0.25)
    return logits


@pytest.mark.parametrize("vocab_size", VOCAB_SIZES)
def test_ids_are_those_of_the_reference(generator: torch.Generator, vocab_size: int) -> None:
    rng = random.Random(generator.initial_seed() + vocab_size)
    count = 240
    logits = draw_logits(generator, count, vocab_size)
    rows = with_masks(rng, [draw_row(rng, vocab_size) for _ in range(count)], logits)
    got = [sampled.token_id for sampled in sample(logits, rows)]
    want = reference_sampler.sample(logits.numpy(), rows)
    wrong = [(i, rows[i].params, got[i], want[i]) for i in range(count) if got[i] != want[i]]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("vocab_size", [32768, 50432])
def test_ids_are_those_of_the_reference_at_full_size(generator: torch.Generator, vocab_size: int) -> None:
    rng = random.Random(generator.initial_seed() + vocab_size)
    logits = draw_logits(generator, 60, vocab_size)
    rows = with_masks(rng, [draw_row(rng, vocab_size) for _ in range(60)], logits)
    want = reference_sampler.sample(logits.numpy(), rows)
    assert [sampled.token_id for sampled in sample(logits, rows)] == want


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.randoms(use_true_random=False))
def test_masked_ids_are_those_of_the_reference(vocab_size: int, rng: random.Random) -> None:
    logits = draw_logits(torch.Generator().manual_seed(rng.randrange(2**32)), 6, vocab_size)
    rows = with_masks(rng, [draw_row(rng, vocab_size) for _ in range(6)], logits)
    found = [sampled.token_id for sampled in sample(logits, rows)]
    assert found == reference_sampler.sample(logits.numpy(), rows)
    masked = [(token, row.mask) for token, row in zip(found, rows, strict=True) if row.mask is not None]
    assert all(int(mask[token // 32]) >> token % 32 & 1 for token, mask in masked)


@pytest.mark.parametrize("vocab_size", VOCAB_SIZES)
def test_logprobs_have_the_bits_of_the_reference(generator: torch.Generator, vocab_size: int) -> None:
    logits = draw_logits(generator, 24, vocab_size)
    targets = [i * 7 % vocab_size for i in range(24)]
    for top_n in (0, 1, 5, 20):
        want = reference_sampler.token_logprobs(logits.numpy(), targets, [top_n] * 24)
        assert token_logprobs(logits, targets, top_n) == want


def test_exponential_and_logarithm_are_close_to_exact() -> None:
    x = np.concatenate((np.linspace(-60, 0, 100_001), -np.logspace(-300, 1, 10_001)))
    error = reference_sampler.exp_scaled(x, 0) / np.exp(x.astype(np.longdouble)) - 1
    assert np.abs(error).max() < 6e-16
    for value in np.logspace(-20, 20, 10_001).tolist():
        exact = float(np.log(np.longdouble(value)))
        assert abs(reference_sampler.log(value) - exact) <= 4e-16 * max(1.0, abs(exact))
    assert reference_sampler.log(1.0) == 0.0


def test_whole_weights_leave_nothing_of_the_distribution_that_could_be_measured() -> None:
    """Total variation between the whole weights and the exact softmax, for a flat and a peaked row."""
    for spread in (0.1, 3.0, 12.0):
        scores = np.random.default_rng(5).normal(size=50432) * spread
        tempered = scores - scores.max()
        exact = np.exp(tempered.astype(np.longdouble))
        weights = np.rint(reference_sampler.exp_scaled(tempered, reference_sampler.WEIGHT_BITS))
        difference = np.abs(weights / weights.sum() - exact / exact.sum()).sum() / 2
        assert difference < 1e-9


def options(count: int) -> list[SamplingParams]:
    kinds: list[dict[str, Any]] = [
        {},
        {"temperature": 0.0},
        {"top_p": 0.9},
        {"top_k": 30, "temperature": 0.7},
        {"presence_penalty": 0.5, "frequency_penalty": 0.1},
        {"repetition_penalty": 1.2, "top_p": 0.8},
        {"logit_bias": {3: 4.0}, "min_p": 0.02},
    ]
    return [SamplingParams(seed=i, **kinds[i % len(kinds)]) for i in range(count)]


def run_table(logits: list[Tensor], slots: list[int], params: list[SamplingParams]) -> list[list[int]]:
    """Steps of logits (S, V), row s for slot s; only `slots` are sampled."""
    table = SamplingTable(len(params), logits[0].shape[1])
    for slot in slots:
        table.start(slot, params[slot])
    rows, ids = torch.tensor(slots), torch.tensor(slots, dtype=torch.int32)
    seen = torch.full((len(params), (logits[0].shape[1] + 7) // 8), 0x5A, dtype=torch.uint8)
    return [table.sample(step, rows, ids, seen) for step in logits]


@pytest.mark.usefixtures("restored_threads")
def test_neighbours_order_and_threads_change_no_id(generator: torch.Generator) -> None:
    params = options(21)
    logits = [torch.randn(21, 2000, generator=generator) * 3 for _ in range(5)]
    order = list(range(21))
    together = run_table(logits, order, params)
    for threads in (1, 2, 3):
        ops.set_num_threads(threads)
        assert run_table(logits, order, params) == together
    shuffled = run_table(logits, order[::-1], params)
    assert [step[::-1] for step in shuffled] == together
    for slot in (0, 5, 13, 20):
        assert run_table(logits, [slot], params) == [[step[slot]] for step in together]


def test_a_table_counts_what_it_draws(generator: torch.Generator) -> None:
    """Steps of a table equal steps of the reference with the reply's counts, and a slot starts afresh."""
    table = SamplingTable(2, 50)
    seen = torch.zeros(0, 7, dtype=torch.uint8)
    row, slot = torch.tensor([0]), torch.tensor([1], dtype=torch.int32)
    for seed in (1, 2):
        params = SamplingParams(seed=seed, presence_penalty=1.0, frequency_penalty=0.7)
        table.start(1, params)
        counts: dict[int, int] = {}
        for index in range(40):
            logits = torch.randn(1, 50, generator=generator)
            [token] = table.sample(logits, row, slot, seen)
            assert [token] == reference_sampler.sample(
                logits.numpy(), [SampleRow(params, 0, index, dict(counts))]
            )
            counts[token] = counts.get(token, 0) + 1


def test_a_row_that_is_not_finite_moves_nothing_on(generator: torch.Generator) -> None:
    logits = torch.randn(3, 700, generator=generator)
    seen = torch.zeros(0, 88, dtype=torch.uint8)
    rows, slots = torch.arange(3), torch.arange(3, dtype=torch.int32)
    for bad in (torch.nan, torch.inf):
        broken = logits.clone()
        broken[1, 699] = bad
        table = SamplingTable(3, 700)
        for slot in range(3):
            table.start(slot, SamplingParams(seed=slot, presence_penalty=0.5))
        first = table.sample(broken, rows, slots, seen)
        assert first[1] == -1
        assert table.sample(logits, rows[1:2], slots[1:2], seen) == reference_sampler.sample(
            logits[1:2].numpy(), [SampleRow(SamplingParams(seed=1, presence_penalty=0.5))]
        )
        with pytest.raises(NonFiniteLogits):
            reference_sampler.sample(broken.numpy(), [SampleRow(SamplingParams())] * 3)


def test_choices_that_share_a_row_draw_from_it_each(generator: torch.Generator) -> None:
    logits = torch.randn(1, 300, generator=generator)
    table = SamplingTable(4, 300)
    params = SamplingParams(seed=5)
    for choice in range(4):
        table.start(choice, params, choice)
    slots = torch.arange(4, dtype=torch.int32)
    got = table.sample(
        logits, torch.zeros(4, dtype=torch.int64), slots, torch.zeros(0, 38, dtype=torch.uint8)
    )
    rows = [SampleRow(params, choice) for choice in range(4)]
    assert got == reference_sampler.sample(logits.expand(4, -1).numpy(), rows)


def test_a_cleared_slot_leaves_no_option_behind(generator: torch.Generator) -> None:
    logits = torch.randn(1, 100, generator=generator)
    table = SamplingTable(1, 100)
    table.start(0, SamplingParams(logit_bias={7: 100.0}, presence_penalty=2.0, top_k=3))
    row, slot = torch.tensor([0]), torch.tensor([0], dtype=torch.int32)
    seen = torch.zeros(0, 13, dtype=torch.uint8)
    assert table.sample(logits, row, slot, seen) == [7]
    table.start(0, SamplingParams(temperature=0.0))
    assert table.sample(logits, row, slot, seen) == [int(logits.argmax())]


def arguments() -> dict[str, Tensor]:
    return {
        "logits": torch.zeros(2, 20),
        "rows": torch.tensor([0, 1]),
        "slots": torch.tensor([0, 2], dtype=torch.int32),
        "numbers": torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]] * 3, dtype=torch.float64),
        "counters": torch.zeros(3, 4, dtype=torch.int64),
        "seen": torch.zeros(0, 3, dtype=torch.uint8),
        "counts": torch.zeros(0, 20, dtype=torch.int32),
        "bias_bounds": torch.zeros(4, dtype=torch.int64),
        "bias_ids": torch.zeros(0, dtype=torch.int32),
        "biases": torch.zeros(0, dtype=torch.float64),
        "masked": torch.tensor([True, True, False]),
        "masks": torch.tensor([[1], [0], [0]], dtype=torch.int32),
    }


REPEATS = torch.tensor([[1.0, 1.0, 0.0, 1.1, 0.0, 0.0]] * 3, dtype=torch.float64)
COUNTED = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.5, 0.0]] * 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("logits", torch.zeros(2, 20, dtype=torch.float64), "logits: expected float32"),
        ("logits", torch.zeros(20, 2).T, "logits: the last dimension must"),
        ("logits", torch.zeros(2, 0), "logits: expected 1 to"),
        ("rows", torch.tensor([0, 2]), "rows: 2 is not in [0, 2)"),
        ("rows", torch.tensor([-1, 0]), "rows: -1 is not in [0, 2)"),
        ("slots", torch.tensor([0, 3], dtype=torch.int32), "slots: 3 is not in [0, 3)"),
        ("slots", torch.tensor([1, 1], dtype=torch.int32), "slots: 1 stands twice"),
        ("slots", torch.tensor([1], dtype=torch.int32), "slots: expected shape (2)"),
        ("numbers", torch.zeros(3, 5, dtype=torch.float64), "numbers: expected shape (*, 6)"),
        ("numbers", REPEATS, "seen: repetition_penalty needs"),
        ("numbers", COUNTED, "counts: a penalty needs"),
        ("counters", torch.zeros(2, 4, dtype=torch.int64), "counters: expected shape (3, 4)"),
        ("seen", torch.zeros(3, 2, dtype=torch.uint8), "seen: expected shape (*, 3)"),
        ("counts", torch.zeros(3, 19, dtype=torch.int32), "counts: expected shape (*, 20)"),
        ("bias_bounds", torch.tensor([0, 1, 1, 1]), "bias_bounds: must rise from 0 to 0"),
        ("bias_bounds", torch.tensor([0, 5, -5, 0]), "bias_bounds: must rise"),
        ("biases", torch.zeros(1, dtype=torch.float64), "biases: expected shape (0)"),
        ("masked", torch.zeros(2, dtype=torch.bool), "masked: expected 0 or 3 rows, got 2"),
        ("masked", torch.zeros(0, dtype=torch.bool), "masks: expected shape (0, 1)"),
        ("masks", torch.ones(3, 2, dtype=torch.int32), "masks: expected shape (3, 1)"),
        ("masks", torch.zeros(3, 1, dtype=torch.int32), "masks: the mask of slot 0 allows no id"),
        ("masks", torch.full((3, 1), -1 << 20, dtype=torch.int32), "masks: the mask of slot 0 allows no id"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_moves_on(name: str, value: Tensor, words: str) -> None:
    given = {**arguments(), name: value}
    with pytest.raises(RuntimeError) as refused:
        ops.sample(**given)
    assert str(refused.value).startswith(words)
    assert not given["counters"].any()


def test_a_bias_outside_of_the_vocabulary_is_refused() -> None:
    given = arguments()
    given["bias_bounds"] = torch.tensor([0, 1, 1, 1])
    given["bias_ids"] = torch.tensor([20], dtype=torch.int32)
    given["biases"] = torch.tensor([1.0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"^bias_ids: 20 is not in \[0, 20\)"):
        ops.sample(**given)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rows", [0, 2], "rows: 2 is not in"),
        ("targets", [0, 20], "targets: 20 is not in"),
        ("targets", [0], "targets: expected shape (2)"),
        ("top_counts", [0, -1], "top_counts: -1 is not in"),
    ],
)
def test_logprobs_name_the_bad_argument(name: str, value: list[int], words: str) -> None:
    given = {"rows": [0, 1], "targets": [3, 4], "top_counts": [0, 2], name: value}
    with pytest.raises(RuntimeError) as refused:
        ops.token_logprobs(torch.zeros(2, 20), *(torch.tensor(values) for values in given.values()))
    assert str(refused.value).startswith(words)
