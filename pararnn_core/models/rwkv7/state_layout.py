"""The parts of an RWKV-7's state."""

from __future__ import annotations

import math

import torch

from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import HEAD_SIZE
from pararnn_core.state.state import SEEN, StatePart, StateParts

HEADS, TIME_SHIFT, CHANNEL_SHIFT, LAST_HIDDEN = "heads", "time_shift", "channel_shift", "last_hidden"


def state_parts(config: Rwkv7Config) -> StateParts:
    """Return the parts of a state.

    heads: (L, H, 64 of the key, 64 of the value) float32
    time_shift, channel_shift: (L, d) float32, the last normed rows
    last_hidden: (d,) float32; seen: (ceil(V/8),) uint8
    """
    layers, d = config.num_hidden_layers, config.hidden_size
    # Native code takes the parts in this order, and stored sessions have their bytes in it. It never changes.
    return (
        StatePart(HEADS, (layers, config.num_heads, HEAD_SIZE, HEAD_SIZE), torch.float32, per_layer=True),
        StatePart(TIME_SHIFT, (layers, d), torch.float32, per_layer=True),
        StatePart(CHANNEL_SHIFT, (layers, d), torch.float32, per_layer=True),
        StatePart(LAST_HIDDEN, (d,), torch.float32),
        StatePart(SEEN, (math.ceil(config.vocab_size / 8),), torch.uint8),
    )
