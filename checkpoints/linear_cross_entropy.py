"""Output head and cross-entropy in one, a few rows at a time, to save the memory of a batch's logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# 512 rows of 4096 logits fit into a core's cache.
CHUNK_ROWS = 512


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-likelihood in nats. hidden: (R, d); weight: (V, d); targets: (R,) int64.

    Differentiable once in hidden and weight.
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]  # torch's
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """A function that computes its gradients in forward, where the logits exist."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        loss = hidden.new_zeros(())
        scale = 1.0 / len(hidden)
        for start in range(0, len(hidden), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            rows, wanted = hidden[chunk], targets[chunk]
            logits = rows @ weight.T
            normaliser = logits.logsumexp(-1, keepdim=True)
            loss += (normaliser - logits.gather(1, wanted[:, None])).sum()
            logits.sub_(normaliser).exp_()
            logits.scatter_add_(1, wanted[:, None], logits.new_full((len(rows), 1), -1.0))
            torch.mm(logits, weight, out=grad_hidden[chunk])
            grad_weight.addmm_(logits.T, rows)
        ctx.save_for_backward(grad_hidden.mul_(scale), grad_weight.mul_(scale))
        return loss * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad, grad_weight * grad, None
