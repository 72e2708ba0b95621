"""The sampler in NumPy, one row at a time: what the native kernels compute, with the same bits.

Order of operations: mask, logit_bias, repetition_penalty, presence and frequency penalties, top_k,
temperature, top_p, min_p, draw. An id that the mask forbids has the score -inf from the first on: no bias
lifts it, and it weighs nothing in the draw. So top_k, top_p and min_p see the allowed ids only.
Log-probabilities are those of the model's own logits, before the mask and all that follows, as in vLLM.

Scores are float64. Ties go to the lowest id everywhere. Weights of the draw are whole numbers, so that their
sums have no order and no rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pararnn_core.sampling.mask_words import flags_of
from pararnn_core.sampling.rng import UNIFORM_BITS, uniform_bits
from pararnn_core.sampling.sampled import NonFiniteLogits, Sampled, SampleRow, check_masks

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Weights = NDArray[np.int64]
Ids = NDArray[np.intp]

# With 42 bits the weights of two million ids sum to less than 2^63.
WEIGHT_BITS = 42
_COLUMNS = 16
_ROUND_MAGIC = 1.5 * 2.0**52
# The high part ends in zero bits, so its product with n is exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")
_EXP_COEFFICIENTS = (
    float.fromhex("0x1.28a2ca617b969p-22"),
    float.fromhex("0x1.72fafebdaf273p-19"),
    float.fromhex("0x1.a019a6611cad5p-16"),
    float.fromhex("0x1.a01978b8b3d18p-13"),
    float.fromhex("0x1.6c16c17f46982p-10"),
    float.fromhex("0x1.1111112ddae8bp-7"),
    float.fromhex("0x1.55555555520a4p-5"),
    float.fromhex("0x1.555555554b736p-3"),
    float.fromhex("0x1.0000000000005p-1"),
    float.fromhex("0x1.000000000001ep+0"),
    1.0,
)
"""The least maximum relative error of e^r on |r| <= ln 2 / 2, 2.2e-16; the highest power first."""


def sample(logits: Float32s, rows: Sequence[SampleRow]) -> list[int]:
    """logits (M, V), M rows -> M ids.

    NonFiniteLogits names bad rows, NothingAllowed those of empty masks; then nothing was sampled.
    """
    check_masks(rows, logits.shape[1])
    checked_best(logits)
    scores = [_scores(logits[i], row) for i, row in enumerate(rows)]
    bad = [i for i, its in enumerate(scores) if its.max() == -np.inf]
    if bad:
        raise NonFiniteLogits(bad)
    return [_choose(its, row) for its, row in zip(scores, rows, strict=True)]


def token_logprobs(logits: Float32s, targets: Sequence[int], top_counts: Sequence[int]) -> list[Sampled]:
    """logits (M, V) -> log-probabilities of M targets with each row's likeliest ids."""
    best = checked_best(logits)
    return [_with_logprobs(logits[i], int(best[i]), targets[i], top_counts[i]) for i in range(len(targets))]


def checked_best(logits: Float32s) -> Ids:
    """The lowest id of each row's maximum. NumPy's argmax stops at the first NaN."""
    best: Ids = logits.argmax(axis=1)
    finite = np.isfinite(logits[np.arange(len(logits)), best])
    if not finite.all():
        raise NonFiniteLogits(np.flatnonzero(~finite).tolist())
    return best


def exp_scaled(x: Float64s, bits: int) -> Float64s:
    """2^bits e^x for x <= 0, with x below -60 taken as -60; multiplications and additions only."""
    x = np.maximum(x, -60.0)
    # Adding 1.5 * 2^52 leaves no bits for a fraction, so it rounds to the nearest integer.
    n = (x * 1.4426950408889634 + _ROUND_MAGIC) - _ROUND_MAGIC
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.full_like(r, _EXP_COEFFICIENTS[0])
    for coefficient in _EXP_COEFFICIENTS[1:]:
        p = p * r + coefficient
    return np.ldexp(p, n.astype(np.int64) + bits)


def log(x: float) -> float:
    """Return the logarithm of a positive number."""
    # Not math.log: C libraries differ in its last bit.
    # x = m 2^e with m in [sqrt(1/2), sqrt(2)), and log m = 2 atanh((m - 1) / (m + 1)).
    m, exponent = math.frexp(x)
    e = float(exponent)
    if m < 0.7071067811865476:
        m, e = m * 2.0, e - 1.0
    f = (m - 1.0) / (m + 1.0)
    square, series = f * f, 1.0 / 23.0
    for odd in range(21, 0, -2):
        series = series * square + 1.0 / odd
    return e * _LN2_HIGH + (e * _LN2_LOW + 2.0 * f * series)


def _scores(raw: Float32s, row: SampleRow) -> Float64s:
    scores = raw.astype(np.float64)
    if row.mask is not None:
        scores[~flags_of(row.mask, len(scores))] = -np.inf
    return _penalised(scores, row) if row.params.changes_logits else scores


def _choose(scores: Float64s, row: SampleRow) -> int:
    params, best = row.params, int(scores.argmax())
    if params.greedy:
        return best
    ids = np.arange(len(scores))
    if 0 < params.top_k < len(scores):
        ids = _by_rank(scores, ids)[: params.top_k]
    with np.errstate(over="ignore"):  # a tiny temperature: -inf, which weighs nothing, is right
        tempered = (scores - scores[best]) / params.temperature
    weights = np.rint(exp_scaled(tempered, WEIGHT_BITS)).astype(np.int64)
    if params.top_p < 1.0:
        ids = _nucleus(_by_rank(scores, ids), weights, params.top_p)
    # A draw selects by position, so ids need one order here and in the kernels.
    ids = np.sort(ids[weights[ids] >= params.min_p * 2.0**WEIGHT_BITS])
    return int(ids[_draw(weights[ids], uniform_bits(params.seed, row.choice, row.output_index))])


def _penalised(scores: Float64s, row: SampleRow) -> Float64s:
    params = row.params
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


def _by_rank(scores: Float64s, ids: Ids) -> Ids:
    """The ids, the highest score first, of equal scores the lowest id first."""
    return ids[np.lexsort((ids, -scores[ids]))]


def _nucleus(ranked: Ids, weights: Weights, top_p: float) -> Ids:
    """The fewest first ids that hold top_p of the sum; at least one."""
    held = np.cumsum(weights[ranked])
    count = 1 + int(np.searchsorted(held.astype(np.float64), top_p * float(held[-1])))
    return ranked[:count]


def _draw(weights: Weights, bits: int) -> int:
    """The first position whose running sum exceeds bits / 2^53 of the whole."""
    held = np.cumsum(weights)
    # The product may exceed 64 bits, so both factors are integers of Python.
    return int(np.searchsorted(held, bits * int(held[-1]) >> UNIFORM_BITS, side="right"))


def _with_logprobs(raw: Float32s, best: int, token: int, top_n: int) -> Sampled:
    scores = raw.astype(np.float64)
    below = scores - scores[best]
    log_total = log(_sum(exp_scaled(below, 0)))
    top = _by_rank(scores, np.arange(len(scores)))[:top_n].tolist()
    return Sampled(
        token, float(below[token]) - log_total, tuple((i, float(below[i]) - log_total) for i in top)
    )


def _sum(values: Float64s) -> float:
    """16 columns of sums in index order, then folded by halves."""
    # The kernels add in vectors; a plain sum would have other last bits.
    padded = np.concatenate((values, np.zeros(-len(values) % _COLUMNS)))
    sums = np.zeros(_COLUMNS)
    for block in padded.reshape(-1, _COLUMNS):
        sums += block
    while len(sums) > 1:
        half = len(sums) // 2
        sums = sums[:half] + sums[half:]
    return float(sums[0])
