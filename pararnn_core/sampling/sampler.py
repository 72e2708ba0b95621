"""Logits to token ids: natively where the library is there, by the NumPy reference otherwise.

A row's result is a function of that row alone, with the same bits in any batch, at any number of threads and
at every instruction set level; `reference_sampler` says what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.sampling import reference_sampler
from pararnn_core.sampling.sampled import NonFiniteLogits, NothingAllowed, Sampled, SampleRow, check_masks
from pararnn_core.sampling.sampling_table import SamplingTable

__all__ = ["NonFiniteLogits", "NothingAllowed", "SampleRow", "Sampled", "sample", "token_logprobs"]


def sample(logits: Tensor, rows: Sequence[SampleRow]) -> list[Sampled]:
    """logits (M, V) float32, M rows -> M tokens.

    NonFiniteLogits names bad rows, NothingAllowed those of empty masks; then nothing was sampled.
    """
    logits = _checked(logits, len(rows))
    check_masks(rows, logits.shape[1])
    if not rows:
        return []
    tokens = (
        _native_ids(logits, rows) if ops.is_available() else reference_sampler.sample(logits.numpy(), rows)
    )
    sampled = [Sampled(token) for token in tokens]
    # Log-probabilities take another pass over a row, so only requested ones are computed.
    wanted = [i for i, row in enumerate(rows) if row.params.logprobs is not None]
    top_counts = [rows[i].params.logprobs or 0 for i in wanted]
    for i, with_logprobs in zip(
        wanted, rows_logprobs(logits, wanted, [tokens[i] for i in wanted], top_counts), strict=True
    ):
        sampled[i] = with_logprobs
    return sampled


def token_logprobs(logits: Tensor, targets: Sequence[int], top_n: int = 0) -> list[Sampled]:
    """logits (M, V), the M tokens that followed -> their log-probabilities with the top_n alternatives."""
    logits = _checked(logits, len(targets))
    return rows_logprobs(logits, range(len(targets)), targets, [top_n] * len(targets))


def rows_logprobs(
    logits: Tensor, rows: Sequence[int], targets: Sequence[int], top_counts: Sequence[int]
) -> list[Sampled]:
    """Return the log-probability of the target of each of `rows` of logits (*, V), with its likeliest ids.

    NonFiniteLogits names the bad ones of `rows` by their position.
    """
    if not rows:
        return []
    if not ops.is_available():
        return reference_sampler.token_logprobs(logits[list(rows)].numpy(), targets, top_counts)
    found = ops.token_logprobs(
        logits, *(torch.tensor(values) for values in (list(rows), targets, top_counts))
    )
    if not found.finite.all():
        raise NonFiniteLogits((~found.finite).nonzero()[:, 0].tolist())
    top_ids, top_logprobs = found.top_ids.tolist(), found.top_logprobs.tolist()
    return [
        Sampled(target, logprob, tuple(zip(top_ids[i][:count], top_logprobs[i], strict=False)))
        for i, (target, logprob, count) in enumerate(
            zip(targets, found.logprobs.tolist(), top_counts, strict=True)
        )
    ]


def _checked(logits: Tensor, num_rows: int) -> Tensor:
    if logits.ndim != 2 or logits.shape[0] != num_rows:
        raise ValueError(f"logits must be ({num_rows}, V), got {tuple(logits.shape)}")
    return logits.detach().to(device="cpu", dtype=torch.float32).contiguous()


def _native_ids(logits: Tensor, rows: Sequence[SampleRow]) -> list[int]:
    num_rows, vocab_size = logits.shape
    table = SamplingTable(num_rows, vocab_size)
    for i, row in enumerate(rows):
        table.start(i, row.params, row.choice, row.output_index, row.counts)
        table.set_mask(i, row.mask)
    order = torch.arange(num_rows)
    tokens = table.sample(logits, order, order.int(), _bitmaps(rows, vocab_size))
    if min(tokens) < 0:
        raise NonFiniteLogits([i for i, token in enumerate(tokens) if token < 0])
    return tokens


def _bitmaps(rows: Sequence[SampleRow], vocab_size: int) -> Tensor:
    if all(row.params.repetition_penalty == 1.0 for row in rows):
        # Without a repetition penalty the sampler reads no bitmap.
        return torch.empty(0, (vocab_size + 7) // 8, dtype=torch.uint8)
    seen = torch.zeros(len(rows), (vocab_size + 7) // 8, dtype=torch.uint8)
    for i, row in enumerate(rows):
        if row.params.repetition_penalty == 1.0:
            continue
        if row.seen is None:
            raise ValueError("repetition_penalty needs the row's seen bitmap")
        seen[i] = row.seen
    return seen
