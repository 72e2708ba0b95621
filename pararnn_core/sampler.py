"""Logits to token ids, one row at a time.

A row's result is a function of that row alone: every sum runs over one row in a fixed order, in float64, and
the random number comes from a counter (`rng`). Order of operations: logit_bias,
repetition_penalty, presence and frequency penalties, temperature, top_k, top_p, min_p, draw. Ties go to the
lowest id everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pararnn_core.rng import uniform
from pararnn_core.sampling_params import SamplingParams

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Ids = NDArray[np.intp]

_DRAW_BLOCK = 256


class NonFiniteLogits(ArithmeticError):
    """The model gave NaN, +inf or nothing but -inf; `rows` are the indices of those rows."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"the model gave logits that are not finite in rows {rows}; no token can be chosen")
        self.rows = rows


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What one row of logits is sampled with.

    choice, output_index: the counters of the random number; output_index counts the tokens of this reply.
    counts: token id -> occurrences in this reply.
    seen: (ceil(V / 8),) uint8, bit id % 8 of byte id // 8 is set for every token in the context; only
    repetition_penalty needs it.
    """

    params: SamplingParams
    choice: int = 0
    output_index: int = 0
    counts: Mapping[int, int] = field(default_factory=dict)
    seen: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token; if asked for, its log-probability and the most likely tokens, by the unmodified logits."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def sample(logits: torch.Tensor, rows: Sequence[SampleRow]) -> list[Sampled]:
    """logits (M, V) float32, M rows -> M tokens. NonFiniteLogits names bad rows; then nothing was sampled."""
    if logits.ndim != 2 or logits.shape[0] != len(rows):
        raise ValueError(f"logits must be ({len(rows)}, V), got {tuple(logits.shape)}")
    if not rows:
        return []
    raw, best = _checked(logits)
    return [_sampled(raw[i], int(best[i]), row) for i, row in enumerate(rows)]


def token_logprobs(logits: torch.Tensor, targets: Sequence[int], top_n: int = 0) -> list[Sampled]:
    """logits (M, V), the M tokens that followed -> their log-probabilities with the top_n alternatives."""
    if logits.ndim != 2 or logits.shape[0] != len(targets):
        raise ValueError(f"logits must be ({len(targets)}, V), got {tuple(logits.shape)}")
    if not targets:
        return []
    raw, best = _checked(logits)
    return [_with_logprobs(raw[i], int(best[i]), target, top_n) for i, target in enumerate(targets)]


def _checked(logits: torch.Tensor) -> tuple[Float32s, Ids]:
    """The rows as an array and the lowest id of each row's maximum. NumPy's argmax stops at the first NaN."""
    raw: Float32s = logits.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()
    best = raw.argmax(axis=1)
    finite = np.isfinite(raw[np.arange(len(raw)), best])
    if not finite.all():
        raise NonFiniteLogits(np.flatnonzero(~finite).tolist())
    return raw, best


def _sampled(raw: Float32s, best: int, row: SampleRow) -> Sampled:
    token = _choose(raw, best, row)
    if row.params.logprobs is None:
        return Sampled(token)
    return _with_logprobs(raw, best, token, row.params.logprobs)


def _choose(raw: Float32s, best: int, row: SampleRow) -> int:
    params = row.params
    if not params.changes_logits:
        if params.greedy:
            return best
        scores = raw.astype(np.float64)
    else:
        scores = _penalised(raw, row)
        best = int(scores.argmax())
        if params.greedy:
            return best
    scores -= scores[best]
    with np.errstate(over="ignore"):  # a tiny temperature: -inf, which weighs nothing, is right
        scores /= params.temperature
    u = uniform(params.seed, row.choice, row.output_index)
    return _draw_filtered(scores, params, u)


def _penalised(raw: Float32s, row: SampleRow) -> Float64s:
    params, scores = row.params, raw.astype(np.float64)
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if params.repetition_penalty != 1.0:
        ids = _seen_ids(row, len(scores))
        values, penalty = scores[ids], params.repetition_penalty
        scores[ids] = np.where(values > 0, values / penalty, values * penalty)
    for token, count in row.counts.items():
        scores[token] -= params.presence_penalty + params.frequency_penalty * count
    return scores


def _seen_ids(row: SampleRow, vocab_size: int) -> Ids:
    if row.seen is None:
        raise ValueError("repetition_penalty needs the row's seen bitmap")
    bits = np.unpackbits(row.seen.cpu().numpy(), count=vocab_size, bitorder="little")
    return np.flatnonzero(bits)


def _draw_filtered(scores: Float64s, params: SamplingParams, u: float) -> int:
    """scores (V,), tempered, their maximum 0 -> an id drawn from what the filters leave."""
    ids: Ids | None = None
    if 0 < params.top_k < len(scores):
        ids = _largest(scores, params.top_k)
        scores = scores[ids]
    weights = np.exp(scores)
    if params.top_p < 1.0:
        ids, weights = _narrow(ids, weights, _nucleus(weights, params.top_p))
    if params.min_p > 0.0:
        ids, weights = _narrow(ids, weights, np.flatnonzero(weights >= params.min_p))
    index = _draw(weights, u)
    return index if ids is None else int(ids[index])


def _narrow(ids: Ids | None, weights: Float64s, kept: Ids) -> tuple[Ids, Float64s]:
    return (kept if ids is None else ids[kept]), weights[kept]


def _largest(values: Float64s | Float32s, count: int) -> Ids:
    """Positions of the `count` largest, ascending; of equal values the first. No sort of the whole."""
    if count >= len(values):
        return np.arange(len(values))
    threshold = np.partition(values, len(values) - count)[len(values) - count]
    return _down_to(values, threshold, count)


def _down_to(values: Float64s | Float32s, threshold: np.floating[Any], count: int) -> Ids:
    """As `_largest`, given the smallest of the `count` largest values."""
    above = np.flatnonzero(values > threshold)
    ties = np.flatnonzero(values == threshold)[: count - len(above)]
    return np.sort(np.concatenate((above, ties)))


def _nucleus(weights: Float64s, top_p: float) -> Ids:
    """Positions of the fewest largest weights that hold top_p of the sum; at least one.

    All weights below (1 - top_p) sum / n together hold less than 1 - top_p, so none of them is needed; half
    of that bound leaves room for rounding.
    """
    total = weights.sum()
    candidates = np.flatnonzero(weights >= 0.5 * (1.0 - top_p) * total / len(weights))
    values = weights[candidates]
    descending = np.sort(values)[::-1]
    count = 1 + int(np.searchsorted(np.cumsum(descending), top_p * total))
    count = min(count, len(values))
    return candidates[_down_to(values, descending[count - 1], count)]


def _draw(weights: Float64s, u: float) -> int:
    """The first position whose cumulative weight exceeds u of the sum. By blocks: a running sum is slow."""
    sums = np.add.reduceat(weights, np.arange(0, len(weights), _DRAW_BLOCK))
    edges = np.cumsum(sums)
    target = u * edges[-1]
    block = _first_above(edges, sums, target)
    start = block * _DRAW_BLOCK
    inside = weights[start : start + _DRAW_BLOCK]
    before = edges[block - 1] if block else 0.0
    return start + _first_above(before + np.cumsum(inside), inside, target)


def _first_above(cumulative: Float64s, weights: Float64s, target: float) -> int:
    """Rounding may leave nothing above the target: then the last position that has any weight."""
    index = int(np.searchsorted(cumulative, target, side="right"))
    return index if index < len(weights) else int(np.flatnonzero(weights)[-1])


def _with_logprobs(raw: Float32s, best: int, token: int, top_n: int) -> Sampled:
    logprobs = raw.astype(np.float64)
    logprobs -= logprobs[best]
    logprobs -= math.log(np.exp(logprobs).sum())
    top = sorted(_largest(raw, top_n).tolist(), key=lambda i: (-raw[i], i)) if top_n else []
    return Sampled(token, float(logprobs[token]), tuple((i, float(logprobs[i])) for i in top))
