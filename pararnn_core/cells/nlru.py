"""ParaNLRU: a gated cell whose gate depends on the input alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pararnn_core.cells.base import Cell
from pararnn_core.cells.recurrence import JacobianStructure


class ParaNLRU(Cell):
    """A nonlinear recurrent unit with one gate. Rows of B, b and bx: a, c. Row of A: u. State: h.

    The gate a weighs the old state.

    a = s(bx_a);  n = tanh(u h + bx_c);  h' = a h + (1 - a) n
    """

    num_gates: ClassVar[int] = 2
    num_states: ClassVar[int] = 1
    num_recurrent: ClassVar[int | None] = 1
    jacobian_structure: ClassVar[JacobianStructure] = "diagonal"
    native_name: ClassVar[str | None] = "nlru"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """h (..., D), bx (..., 2, D) -> h' (..., D)."""
        a, n = self._gates(h, bx)
        return torch.lerp(n, h, a)

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """h (n, 1, D), bx (n, 2, D) -> h' (n, 1, D) and J (n, 1, 1, D)."""
        h = h.squeeze(1)
        a, n = self._gates(h, bx)
        jacobian = a + (1 - a) * (1 - n * n) * self.A[0]
        return torch.lerp(n, h, a).unsqueeze(1), jacobian[:, None, None]

    def _gates(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        return bx[..., 0, :].sigmoid(), torch.addcmul(bx[..., 1, :], self.A[0], h).tanh()
