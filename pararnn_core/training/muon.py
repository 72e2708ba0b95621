"""Muon, an optimizer with momentum whose update is the nearest orthogonal matrix.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). The scale that makes updates
as large as AdamW's is from Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM = 0.95
# A quintic whose iterates drive every singular value into about (0.7, 1.2).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
ADAMW_UPDATE_RMS = 0.2


class Muon(Optimizer):
    """Muon for matrices (O, I) only. Learning rates and weight decay have AdamW's meaning.

    products: type of the matrix products of an update
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], weight_decay: float, products: torch.dtype = torch.float32
    ) -> None:
        super().__init__(parameters, {"lr": 1e-3, "weight_decay": weight_decay})
        self.products = products

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's may return a loss
        """Update every parameter that has a gradient; closure must be None."""
        for group in self.param_groups:
            for shape, parameters in _by_shape(group["params"]).items():
                # Products of one small matrix after another keep cores idle, so those of a shape run at once.
                smoothed = torch.stack([self._smoothed(parameter) for parameter in parameters])
                updates = orthogonalised(smoothed.to(self.products)).to(smoothed.dtype)
                scale = ADAMW_UPDATE_RMS * math.sqrt(max(shape))
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * scale)

    def _smoothed(self, parameter: Tensor) -> Tensor:
        """Return the gradient with Nesterov momentum, one step ahead of the average."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        average: Tensor = state["average"]
        average.lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(average, MOMENTUM)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return roughly U V^T of each matrix's singular value decomposition, by Newton-Schulz iterations.

    matrices: (N, O, I)
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x.float(), keepdim=True).clamp(min=1e-7).to(x.dtype)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.mT if tall else x


def _by_shape(parameters: Iterable[Tensor]) -> dict[tuple[int, ...], list[Tensor]]:
    found: dict[tuple[int, ...], list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            found.setdefault(tuple(parameter.shape), []).append(parameter)
    return found
