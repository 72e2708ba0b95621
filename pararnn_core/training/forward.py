"""The loss of a batch in training: its arithmetic, and layers that a compiler made."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from pararnn_core.models.pararnn.layers import Block
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.ops import is_available
from pararnn_core.ops.recurrence import prepare_tracing
from pararnn_core.training.linear_cross_entropy import linear_cross_entropy

_ROWS, _WIDTH, _ROUNDS = 1024, 256, 5


class Forward:
    """The model's loss. products: type of the inputs of matrix products; parameters stay float32.

    compiled: norms, convolution, gate and casts between products become one pass over their rows each. The
    first call for a shape then takes half a minute, once per machine.
    """

    def __init__(self, model: ParaRNNForCausalLM, products: torch.dtype, compiled: bool) -> None:
        self.model, self.products = model, products
        self._layer = _run_block
        if compiled:
            prepare_tracing()
            self._layer = torch.compile(_run_block, dynamic=False)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-likelihood in nats of targets (B, T), every row from a zero state."""
        model, x = self.model, self.model.embedding(inputs)
        for block in model.blocks:
            # The cache would hand a layer the weights of the step before.
            with torch.autocast(x.device.type, self.products, self._narrow, cache_enabled=False):
                x = self._layer(block, x)
        rows = model.norm(x).flatten(0, 1)
        head = (model.embedding if model.config.tie_embeddings else model.lm_head).get_parameter("weight")
        return linear_cross_entropy(rows, head, targets.flatten(), self.products if self._narrow else None)

    @property
    def _narrow(self) -> bool:
        return self.products != torch.float32


def _run_block(block: Block, x: Tensor) -> Tensor:
    y: Tensor = block(x)
    return y.to(x.dtype)


def uncompiled() -> AbstractContextManager[None]:
    """Run a few batches of another shape without a compiler, which would take longer than it saves."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


def has_compiler() -> bool:
    """Return True if this machine has the C++ compiler and the native kernels that compiled layers need."""
    return is_available() and shutil.which(os.environ.get("CXX", "g++")) is not None


def fastest_products(device: torch.device) -> torch.dtype:
    """Return the faster type of matrix products on this machine, measured: float32 or bfloat16."""
    types = (torch.float32, torch.bfloat16)
    return min(types, key=lambda dtype: _seconds_of_a_product(device, dtype))


def _seconds_of_a_product(device: torch.device, dtype: torch.dtype) -> float:
    x = torch.ones(_ROWS, _WIDTH, device=device, dtype=dtype)
    weight = torch.ones(_WIDTH, _WIDTH, device=device, dtype=dtype)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        (x @ weight)[0, 0].item()
        times.append(time.perf_counter() - start)
    return min(times)
