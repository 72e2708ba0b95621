"""ParaGRU: a gated cell whose channels do not mix inside the recurrence."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pararnn_core.cells.base import Cell
from pararnn_core.cells.recurrence import JacobianStructure


class ParaGRU(Cell):
    """A gated recurrent unit. Rows of A, B, b and bx: z, r, n. State: h.

    z is the weight of the new value. In torch.nn.GRU it is the weight of the old one.

    z = s(a_z h + bx_z);  r = s(a_r h + bx_r);  n = tanh(a_n (h r) + bx_n);  h' = (1 - z) h + z n
    """

    num_gates: ClassVar[int] = 3
    num_states: ClassVar[int] = 1
    jacobian_structure: ClassVar[JacobianStructure] = "diagonal"
    native_name: ClassVar[str | None] = "gru"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """h (..., D), bx (..., 3, D) -> h' (..., D)."""
        z, _, n = self._gates(h, bx)
        return torch.lerp(h, n, z)

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """h (n, 1, D), bx (n, 3, D) -> h' (n, 1, D) and J (n, 1, 1, D)."""
        h = h.squeeze(1)
        z, r, n = self._gates(h, bx)
        a_z, a_r, a_n = self.A
        dn = (1 - n * n) * a_n * (r + h * r * (1 - r) * a_r)
        jacobian = (1 - z) * (1 + (n - h) * z * a_z) + z * dn
        return torch.lerp(h, n, z).unsqueeze(1), jacobian[:, None, None]

    def _gates(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, r = torch.addcmul(bx[..., :2, :], self.A[:2], h.unsqueeze(-2)).sigmoid().unbind(-2)
        n = torch.addcmul(bx[..., 2, :], self.A[2], h * r).tanh()
        return z, r, n
