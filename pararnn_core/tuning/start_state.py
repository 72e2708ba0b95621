"""The state before the first token, as parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pararnn_core.models.pararnn.layers import LayerStart
from pararnn_core.models.pararnn.state_layout import CELL, CONV
from pararnn_core.state import StateParts, StateSnapshot


class StartState(nn.Module):
    """The parts of a state that a first token reads: those with a layer each. They begin as zeros.

    The others are the last hidden row and the set of seen ids, which belong to tokens that were read.
    """

    def __init__(self, parts: StateParts, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._parts = parts
        trained = (part for part in parts if part.per_layer and part.dtype.is_floating_point)
        # In full precision also where a state keeps bfloat16: the forward rounds it, small steps add up.
        self.values = nn.ParameterDict(
            {part.name: nn.Parameter(torch.zeros(part.shape, dtype=dtype)) for part in trained}
        )

    def layer(self, index: int) -> LayerStart:
        """Return the state of one layer."""
        return LayerStart(self.values[CELL][index], self.values[CONV][index])

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all values by name."""
        return {name: value.detach().clone() for name, value in self.values.items()}

    @torch.no_grad()
    def set(self, tensors: dict[str, Tensor]) -> None:
        """Copy values, as `tensors` returns them."""
        for name, value in self.values.items():
            value.copy_(tensors[name])

    @property
    def num_values(self) -> int:
        """Numbers that are trained."""
        return sum(value.numel() for value in self.values.values())

    def snapshot(self) -> StateSnapshot:
        """Return the state as a session keeps it."""
        snapshot = StateSnapshot.empty(self._parts)
        views = snapshot.views()
        for name, value in self.values.items():
            views[name].copy_(value.detach())
        return snapshot
