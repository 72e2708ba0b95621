"""KL divergence to the teacher's distribution through the shared head, a few rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# 512 rows of 49,152 logits are 100 MB.
CHUNK_ROWS = 512


@dataclass(frozen=True)
class Divergence:
    """Means over all rows in nats: KL(teacher || student) and both cross-entropies of the text."""

    kl: float
    student: float
    teacher: float


def divergence(student: Tensor, teacher: Tensor, head: Tensor, targets: Tensor) -> Divergence:
    """Return the divergence. student, teacher: rows (R, d) before the head (V, d); targets: (R,)."""
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(student), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        log_q, log_p = (
            F.linear(x[rows].to(head.dtype), head).float().log_softmax(-1) for x in (student, teacher)
        )
        right = targets[rows, None]
        kl = (log_p.exp() * (log_p - log_q)).sum()
        sums += torch.stack((kl, -log_q.gather(1, right).sum(), -log_p.gather(1, right).sum())).double()
    return Divergence(*(sums / len(student)).tolist())


def kl_gradient(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    """Return the gradient (R, d) of the mean KL by student; probabilities have the head's dtype."""
    gradient = torch.empty_like(student)
    for start in range(0, len(student), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        q, p = (_logits(x[rows], head).softmax(-1) for x in (student, teacher))
        gradient[rows] = (q.sub_(p) @ head).float()
    return gradient.div_(len(student))


def _logits(rows: Tensor, head: Tensor) -> Tensor:
    """Return the logits (R, V) of rows (R, d) in the head's dtype."""
    return F.linear(rows.to(head.dtype), head)
