"""Quick estimate of held-out bits per byte during training. evaluate.py measures all files."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from checkpoints.token_data import Ids
from checkpoints.trainer import mean_loss
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

PROBE_WINDOW = 1024
PROBE_WINDOWS = 12


class HeldOutProbe:
    """A probe with a few windows spread evenly over the held-out files, each from a zero state."""

    def __init__(self, documents: Sequence[Ids], num_bytes: int) -> None:
        """num_bytes: bytes of the documents' texts, to convert nats per token into bits per byte."""
        stream = np.concatenate(list(documents)).astype(np.int64)
        length = min(PROBE_WINDOW, len(stream) - 1)
        starts = np.linspace(0, len(stream) - length - 1, PROBE_WINDOWS).astype(int)
        rows = torch.from_numpy(np.stack([stream[start : start + length + 1] for start in starts]))
        self.inputs, self.targets = rows[:, :-1], rows[:, 1:]
        self.bits_per_nat_token = len(stream) / num_bytes / math.log(2)

    @torch.no_grad()
    def bits_per_byte(self, model: ParaRNNForCausalLM) -> float:
        """Return an estimate. It is a little too high, because windows begin in the middle of files."""
        return float(mean_loss(model, self.inputs, self.targets)) * self.bits_per_nat_token
