"""Comparison of a quantised model with its float model on text, in the arithmetic of serving."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

CHUNK = 512


@dataclass(frozen=True)
class Quality:
    """The quality of a quantised model beside its float model.

    tokens: number of predicted tokens; divergences: KL(float || quantised) in nats a token
    top1_agreement: share of tokens for which both models have the same likeliest id
    """

    tokens: int
    float_perplexity: float
    perplexity: float
    mean_divergence: float
    p99_divergence: float
    top1_agreement: float

    @property
    def increase(self) -> float:
        """Increase of the perplexity, as a share of the float model's."""
        return self.perplexity / self.float_perplexity - 1


def num_predicted(documents: Iterable[Tensor]) -> int:
    """Return the number of tokens with a predecessor in their document. Raises ValueError if it is 0."""
    total = sum(max(len(ids) - 1, 0) for ids in documents)
    if not total:
        raise ValueError("the text for evaluation has no token to predict")
    return total


def served_logits(
    model: ParaRNNForCausalLM, ids: Tensor, chunk: int = CHUNK
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (n, V) and their targets (n,), from ids (T + 1,) and a zero state, `chunk` at a time."""
    state = model.new_state(1)
    slots = torch.zeros(1, dtype=torch.int32)
    for start in range(0, len(ids) - 1, chunk):
        targets = ids[start + 1 : start + 1 + chunk]
        rows = torch.arange(len(targets))
        cu_seqlens = torch.tensor([0, len(targets)], dtype=torch.int32)
        inputs = ids[start : start + len(targets)]
        yield model.forward(inputs, cu_seqlens, slots, state, logits_indices=rows), targets


def measure_quality(
    reference: ParaRNNForCausalLM,
    quantized: ParaRNNForCausalLM,
    documents: Sequence[Tensor],
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Measure a quantised model on documents.

    documents: token ids (T + 1,) int64, each read from a zero state; the first token is not predicted
    progress: progress(tokens done, in all)
    Memory grows by 4 bytes a token. Raises ValueError if there is no token to predict.
    """
    # A float32 sum over a long text would lose the digits that a comparison needs.
    losses, agreements, divergences = torch.zeros(2, dtype=torch.float64), 0, list[Tensor]()
    tokens, total = 0, num_predicted(documents)
    for ids in documents:
        # Both models advance together, so memory holds the logits of one chunk of each.
        both = zip(served_logits(reference, ids), served_logits(quantized, ids), strict=True)
        for (expected, targets), (got, _) in both:
            expected, got = F.log_softmax(expected, dim=1), F.log_softmax(got, dim=1)
            for i, each in enumerate((expected, got)):
                losses[i] += F.nll_loss(each, targets, reduction="sum").double()
            divergences.append((expected.exp() * (expected - got)).sum(dim=1))
            agreements += int((expected.argmax(dim=1) == got.argmax(dim=1)).sum())
            tokens += len(targets)
            if progress is not None:
                progress(tokens, total)
    divergence = torch.cat(divergences)
    return Quality(
        tokens=tokens,
        float_perplexity=math.exp(losses[0] / tokens),
        perplexity=math.exp(losses[1] / tokens),
        mean_divergence=float(divergence.double().mean()),
        # torch.quantile refuses more than 2^24 elements.
        p99_divergence=float(divergence.kthvalue(math.ceil(0.99 * tokens)).values),
        top1_agreement=agreements / tokens,
    )
