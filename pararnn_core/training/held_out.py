"""Quick estimate of held-out bits per byte during training. perplexity.py measures whole documents."""

from __future__ import annotations

import math

import numpy as np
import torch

from pararnn_core.training.forward import Forward, uncompiled
from pararnn_core.training.token_file import Ids

PROBE_WINDOW = 1024
PROBE_WINDOWS = 12


class HeldOutProbe:
    """A probe with a few windows spread evenly over the held-out stream, each from a zero state."""

    def __init__(self, stream: Ids, num_bytes: int) -> None:
        """num_bytes: bytes of the stream's text, to convert nats per token into bits per byte."""
        length = min(PROBE_WINDOW, len(stream) - 1)
        starts = np.linspace(0, len(stream) - length - 1, PROBE_WINDOWS).astype(int)
        rows = torch.from_numpy(
            np.stack([stream[start : start + length + 1] for start in starts]).astype(np.int64)
        )
        self.inputs, self.targets = rows[:, :-1], rows[:, 1:]
        self.bits_per_nat_token = len(stream) / num_bytes / math.log(2)

    @torch.no_grad()
    def bits_per_byte(self, forward: Forward) -> float:
        """Return an estimate. It is a little too high, because windows begin in the middle of documents."""
        device = forward.model.device
        with uncompiled():
            loss = forward.loss(self.inputs.to(device), self.targets.to(device))
        return float(loss) * self.bits_per_nat_token
