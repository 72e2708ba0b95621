import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core.sampling.sampler import NonFiniteLogits, SampleRow, sample, token_logprobs
from pararnn_core.sampling_params import SamplingParams

filters = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.01, 0.7, 1.0, 3.0]),
        "top_k": st.sampled_from([0, 1, 2, 5, 1000]),
        "top_p": st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        "min_p": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 1.3]),
        "presence_penalty": st.sampled_from([-1.0, 0.0, 1.5]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "logit_bias": st.dictionaries(st.integers(0, 36), st.floats(-5, 5), max_size=3),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "logprobs": st.sampled_from([None, 0, 3]),
    }
)
COUNTS = {3: 2, 7: 1}
SEEN = (3, 7, 11, 36)


def seen_bitmap(vocab_size: int, ids: tuple[int, ...] = SEEN) -> torch.Tensor:
    bits = np.zeros((vocab_size + 7) // 8 * 8, np.uint8)
    bits[list(ids)] = 1
    return torch.from_numpy(np.packbits(bits, bitorder="little"))


def tied_logits(seed: int, rows: int, vocab_size: int) -> torch.Tensor:
    """Multiples of 1/4: many exact ties."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, vocab_size, generator=generator) * 4).round() / 4


def penalised(logits: list[float], params: SamplingParams) -> list[float]:
    scores = list(logits)
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    for token in SEEN:
        penalty = params.repetition_penalty
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    for token, count in COUNTS.items():
        scores[token] -= params.presence_penalty + params.frequency_penalty * count
    return scores


def exact_distribution(logits: list[float], params: SamplingParams) -> dict[int, float]:
    """The sampler's semantics, written with sorts: id -> probability of what may be drawn."""
    scores = penalised(logits, params)
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    if params.greedy:
        return {ranked[0]: 1.0}
    if params.top_k:
        ranked = ranked[: params.top_k]
    weights = {i: math.exp((scores[i] - scores[ranked[0]]) / params.temperature) for i in ranked}
    goal = params.top_p * sum(weights.values())
    held = list(itertools.accumulate(weights[i] for i in ranked))
    enough = next((n for n, mass in enumerate(held, 1) if mass >= goal), len(ranked))
    if params.top_p < 1.0:
        ranked = ranked[:enough]
    kept = {i: weights[i] for i in ranked if weights[i] >= params.min_p}
    total = sum(kept.values())
    return {i: weight / total for i, weight in kept.items()}


@settings(deadline=None)
@given(filters, st.integers(0, 2**32), st.integers(0, 50))
def test_only_tokens_that_the_filters_leave_are_drawn(fields: dict[str, Any], seed: int, index: int) -> None:
    logits = tied_logits(seed, 1, 37)
    params = SamplingParams(**fields)
    row = SampleRow(params, 0, index, COUNTS, seen_bitmap(37))
    (sampled,) = sample(logits, [row])
    assert exact_distribution(logits[0].tolist(), params).get(sampled.token_id, 0.0) > 0.0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 2.5},
        {"top_k": 6},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
        {
            "repetition_penalty": 1.4,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.3,
            "logit_bias": {5: 2.0},
        },
    ],
    ids=str,
)
def test_draws_follow_the_exact_distribution(fields: dict[str, Any]) -> None:
    logits = tied_logits(5, 1, 40)
    params = SamplingParams(seed=11, **fields)
    expected = exact_distribution(logits[0].tolist(), params)
    draws = 8_000
    rows = [SampleRow(params, 0, i, COUNTS, seen_bitmap(40)) for i in range(draws)]
    observed = np.bincount([s.token_id for s in sample(logits.expand(draws, -1), rows)], minlength=40)
    assert set(np.flatnonzero(observed)) <= expected.keys()
    common = [i for i, p in expected.items() if p * draws >= 5]
    groups = [(observed[i], expected[i] * draws) for i in common]
    groups.append((draws - sum(n for n, _ in groups), max(draws - sum(e for _, e in groups), 1e-9)))
    chi_square = sum((n - e) ** 2 / e for n, e in groups if e >= 5)
    freedom = len(groups) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 8  # far beyond p = 1e-4; the seed is fixed


@settings(max_examples=30)
@given(st.lists(filters, min_size=2, max_size=6), st.integers(0, 2**32))
def test_a_row_does_not_depend_on_its_neighbours(fields: list[dict[str, Any]], seed: int) -> None:
    logits = torch.randn(len(fields), 1037, generator=torch.Generator().manual_seed(seed)) * 5
    rows = [SampleRow(SamplingParams(**f), i % 3, i, COUNTS, seen_bitmap(1037)) for i, f in enumerate(fields)]
    together = sample(logits, rows)
    assert [sample(logits[i : i + 1].clone(), [row])[0] for i, row in enumerate(rows)] == together
    assert sample(logits.flip(0), rows[::-1]) == together[::-1]


@pytest.mark.parametrize("vocab_size", [1, 7, 255, 256, 257, 8192, 50432])
def test_logprobs_have_the_same_bits_alone_and_in_any_batch(vocab_size: int) -> None:
    logits = torch.randn(5, vocab_size, generator=torch.Generator().manual_seed(vocab_size)) * 3
    targets = [i * 31 % vocab_size for i in range(5)]
    together = token_logprobs(logits, targets, top_n=3)
    alone = [token_logprobs(logits[i : i + 1].clone(), targets[i : i + 1], top_n=3)[0] for i in range(5)]
    assert alone == together
    exact = torch.log_softmax(logits.double(), dim=-1)
    for i, (target, result) in enumerate(zip(targets, together, strict=True)):
        assert result.token_id == target
        assert result.logprob == pytest.approx(exact[i, target].item(), abs=1e-12)


def test_thread_count_changes_no_bit() -> None:
    logits = torch.randn(4, 50432, generator=torch.Generator().manual_seed(1)) * 3
    rows = [SampleRow(SamplingParams(seed=i, top_p=0.9, logprobs=4)) for i in range(4)]
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(sample(logits, rows))
    torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_greedy_ties_go_to_the_lowest_id() -> None:
    logits = torch.zeros(3, 600)
    logits[1, [450, 77, 599]] = 2.0
    logits[2, 0] = -1.0
    rows = [SampleRow(SamplingParams(temperature=0))] * 3
    assert [s.token_id for s in sample(logits, rows)] == [0, 77, 1]


def test_a_cut_through_ties_keeps_the_lowest_ids() -> None:
    logits = torch.zeros(1, 20)
    for fields in ({"top_k": 3}, {"top_p": 0.15}):
        params = SamplingParams(**fields)
        drawn = {sample(logits, [SampleRow(params, 0, i)])[0].token_id for i in range(200)}
        assert drawn == {0, 1, 2}


def test_greedy_sees_the_penalties() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.9, -1.0]])
    seen = seen_bitmap(4, (1,))
    cases: list[tuple[dict[str, Any], dict[int, int], int]] = [
        ({}, {}, 1),
        ({"repetition_penalty": 1.1}, {}, 2),
        ({"presence_penalty": 0.2}, {1: 1}, 2),
        ({"frequency_penalty": 0.04}, {1: 2}, 1),
        ({"frequency_penalty": 0.06}, {1: 2}, 2),
        ({"logit_bias": {3: 4.5}}, {}, 3),
    ]
    for fields, counts, expected in cases:
        row = SampleRow(SamplingParams(temperature=0, **fields), counts=counts, seen=seen)
        assert sample(logits, [row])[0].token_id == expected, fields


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 20))
def test_logprobs_are_those_of_the_unmodified_model(seed: int, top_n: int) -> None:
    logits = tied_logits(seed, 1, 37)
    params = SamplingParams(temperature=0.5, logit_bias={4: 50.0}, repetition_penalty=1.5, logprobs=top_n)
    (sampled,) = sample(logits, [SampleRow(params, seen=seen_bitmap(37))])
    exact = torch.log_softmax(logits[0].double(), dim=-1).tolist()
    assert sampled.token_id == 4
    assert sampled.logprob == pytest.approx(exact[4], abs=1e-12)
    ranked = sorted(range(37), key=lambda i: (-exact[i], i))[:top_n]
    assert [i for i, _ in sampled.top] == ranked
    assert [p for _, p in sampled.top] == pytest.approx([exact[i] for i in ranked], abs=1e-12)


def test_no_logprobs_are_computed_unless_asked_for() -> None:
    (sampled,) = sample(torch.randn(1, 9), [SampleRow(SamplingParams())])
    assert sampled.logprob is None
    assert sampled.top == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bad_logit_is_an_error_that_names_the_row(bad: float, temperature: float) -> None:
    logits = torch.randn(4, 300)
    logits[1, 299] = bad
    logits[3, 0] = bad
    with pytest.raises(NonFiniteLogits) as refused:
        sample(logits, [SampleRow(SamplingParams(temperature=temperature))] * 4)
    assert refused.value.rows == [1, 3]
    with pytest.raises(NonFiniteLogits):
        token_logprobs(logits, [0] * 4)


def test_a_row_of_minus_infinity_is_refused_and_a_banned_token_never_drawn() -> None:
    logits = torch.full((1, 10), -math.inf)
    with pytest.raises(NonFiniteLogits):
        sample(logits, [SampleRow(SamplingParams())])
    logits[0, 6] = 1.0
    for fields in ({}, {"top_k": 5}, {"top_p": 0.5}, {"repetition_penalty": 2.0}):
        row = SampleRow(SamplingParams(**fields), seen=seen_bitmap(10, (1, 6)))
        assert sample(logits, [row])[0].token_id == 6


@settings(deadline=None)
@given(st.floats(1e-300, 1e300), st.floats(0.01, 100))
def test_extreme_but_legal_parameters_still_give_a_token(temperature: float, penalty: float) -> None:
    logits = torch.tensor([[3.4e38, -3.4e38, 0.0, 1.0, 3.4e38]])
    params = SamplingParams(temperature=temperature, repetition_penalty=penalty, logprobs=2)
    (sampled,) = sample(logits, [SampleRow(params, seen=seen_bitmap(5, (0, 1)))])
    assert 0 <= sampled.token_id < 5


def test_choices_of_one_seed_differ_and_repeat() -> None:
    logits = torch.randn(1, 5000, generator=torch.Generator().manual_seed(3))
    rows = [SampleRow(SamplingParams(seed=9), choice, i) for choice in range(3) for i in range(4)]
    tokens = [sample(logits, [row])[0].token_id for row in rows]
    assert tokens == [s.token_id for s in sample(logits.expand(12, -1), rows)]
    assert len(set(tokens)) > 9


def test_shapes_that_do_not_fit_are_refused() -> None:
    row = SampleRow(SamplingParams(repetition_penalty=1.1))
    with pytest.raises(ValueError, match=r"logits must be \(2, V\)"):
        sample(torch.zeros(1, 5), [row, row])
    with pytest.raises(ValueError, match=r"logits must be \(1, V\)"):
        token_logprobs(torch.zeros(5), [0])
    with pytest.raises(ValueError, match="seen bitmap"):
        sample(torch.zeros(1, 5), [row])
    assert sample(torch.zeros(0, 5), []) == []
