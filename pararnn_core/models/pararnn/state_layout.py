"""The parts of a ParaRNN's state."""

from __future__ import annotations

import math

import torch

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.state.state import SEEN, StatePart, StateParts, parts_bytes

CELL, LAST_HIDDEN, CONV = "cell", "last_hidden", "conv"


def state_parts(config: ModelConfig, activation_dtype: str | None = None) -> StateParts:
    """Return the parts of a state. activation_dtype: None is that of a CPU.

    cell: (L, N, D) float32; last_hidden: (d,) float32; seen: (ceil(V/8),) uint8
    conv: (L, K-1, D) in the activation dtype, oldest first; no part without a convolution
    """
    layers, d = config.num_hidden_layers, config.hidden_size
    narrow = (activation_dtype or config.activation_dtype_on("cpu")) == "bfloat16"
    activations = torch.bfloat16 if narrow else torch.float32
    # Native code takes the parts in this order, and stored sessions have their bytes in it. It never changes.
    parts = (
        StatePart(CELL, (layers, config.cell_type.num_states, d), torch.float32, per_layer=True),
        StatePart(LAST_HIDDEN, (d,), torch.float32),
        StatePart(CONV, (layers, config.conv_kernel - 1, d), activations, per_layer=True),
        StatePart(SEEN, (math.ceil(config.vocab_size / 8),), torch.uint8),
    )
    return tuple(part for part in parts if part.name != CONV or config.conv_kernel)


def state_bytes(config: ModelConfig, activation_dtype: str | None = None) -> int:
    """Return the exact bytes of one session's state, which do not depend on its length."""
    return parts_bytes(state_parts(config, activation_dtype))
