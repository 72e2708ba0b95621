"""Sampling of a batch of logits. The meaning is written down in pararnn_core.sampling.reference_sampler."""

from typing import NamedTuple

from torch import Tensor

from pararnn_core.ops.library import native


def sample(
    logits: Tensor,
    rows: Tensor,
    slots: Tensor,
    numbers: Tensor,
    counters: Tensor,
    seen: Tensor,
    counts: Tensor,
    bias_bounds: Tensor,
    bias_ids: Tensor,
    biases: Tensor,
    masked: Tensor,
    masks: Tensor,
) -> Tensor:
    """Draw one id from each row of `logits` that `rows` names, with the options of the slot beside it.

    logits: (*, V) float32; rows: (M,) int64; slots: (M,) int32, none twice;
    numbers: (S, N) float64, the N members of SampleNumbers in csrc/params/sampling.h;
    counters: (S, 4) int64: top_k, seed, choice, output_index; the last grows by one;
    seen: (S, ceil(V/8)) uint8 bitmaps; counts: (S, V) int32, of a slot with a presence or frequency penalty
    the drawn id's grows by one; both may have fewer rows if no option of the missing ones needs them;
    bias_bounds: (S+1,) int64, slot s adds biases[i] (float64) to the logit of bias_ids[i] (int32) for i in
    [bias_bounds[s], bias_bounds[s+1]);
    masked: (S,) bool, masks: (S, ceil(V/32)) int32: of a slot that is masked only ids whose bit is set are
    drawn, and a mask without any is an error; both without rows if no slot is masked.
    All on one device. On CUDA the ids of a slot's biases rise, and what rows, slots, biases and masks hold is
    taken on trust: to look at it would wait for the device.
    Returns (M,) int64, -1 where the row has NaN, +inf, or -inf for every id that may be drawn; there nothing
    else changes.
    """
    tokens: Tensor = native().sample(
        logits, rows, slots, numbers, counters, seen, counts, bias_bounds, bias_ids, biases, masked, masks
    )
    return tokens


class TokenLogprobs(NamedTuple):
    """finite: (M,) bool, what follows is undefined where it is False; logprobs: (M,) float64 of the targets;
    top_ids, top_logprobs: (M, N), the likeliest first, as many as asked for in each row.
    """

    finite: Tensor
    logprobs: Tensor
    top_ids: Tensor
    top_logprobs: Tensor


def token_logprobs(logits: Tensor, rows: Tensor, targets: Tensor, top_counts: Tensor) -> TokenLogprobs:
    """logits: (*, V) float32; rows, targets, top_counts: (M,) int64."""
    return TokenLogprobs(*native().token_logprobs(logits, rows, targets, top_counts))
