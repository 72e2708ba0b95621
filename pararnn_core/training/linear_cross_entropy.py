"""Output head and cross-entropy in one, a few rows at a time, to save the memory of a batch's logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# 512 rows of 4096 logits fit into a core's cache.
CHUNK_ROWS = 512


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, products: torch.dtype | None = None
) -> Tensor:
    """Return the mean negative log-likelihood in nats. hidden: (R, d); weight: (V, d); targets: (R,) int64.

    products: type of the inputs of matrix products; None is that of the weight. Sums and the softmax have
    the weight's type in any case.
    Differentiable once in hidden and weight.
    """
    arguments = (hidden, weight, targets, products or weight.dtype)
    loss: Tensor = _LinearCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]  # torch's
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """A function that computes its gradients in forward, where the logits exist."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, products: torch.dtype) -> Tensor:
        narrow_hidden, narrow_weight = hidden.to(products), weight.to(products)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        loss = hidden.new_zeros(())
        scale = 1.0 / len(hidden)
        for start in range(0, len(hidden), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            rows, wanted = narrow_hidden[chunk], targets[chunk]
            logits = (rows @ narrow_weight.T).to(weight.dtype)
            normaliser = logits.logsumexp(-1, keepdim=True)
            loss += (normaliser - logits.gather(1, wanted[:, None])).sum()
            logits.sub_(normaliser).exp_()
            logits.scatter_add_(1, wanted[:, None], logits.new_full((len(rows), 1), -1.0))
            errors = logits.to(products)
            grad_hidden[chunk] = errors @ narrow_weight
            grad_weight += errors.T @ rows
        ctx.save_for_backward(grad_hidden.mul_(scale), grad_weight.mul_(scale))
        return loss * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad, grad_weight * grad, None, None
