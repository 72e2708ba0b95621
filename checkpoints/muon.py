"""Muon, an optimizer with momentum whose update is the nearest orthogonal matrix.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). The scale that makes updates
as large as AdamW's is from Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982). PyTorch's own
rounds to bfloat16 first. That is nearly twice as slow on processors without a bfloat16 matrix unit.
"""

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
    """Muon for matrices (O, I) only. Learning rates and weight decay have AdamW's meaning."""

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        super().__init__(parameters, {"lr": 1e-3, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's may return a loss
        """Update every parameter that has a gradient; closure must be None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = orthogonalised(self._smoothed(parameter))
                    scale = ADAMW_UPDATE_RMS * math.sqrt(max(parameter.shape))
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


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return roughly U V^T of the matrix's singular value decomposition, by Newton-Schulz iterations."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.T if tall else x
