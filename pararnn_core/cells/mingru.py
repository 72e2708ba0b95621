"""ParaMinGRU: minGRU (arXiv 2410.01201), whose step is linear in the state."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pararnn_core.cells.base import Cell
from pararnn_core.cells.recurrence import JacobianStructure


class ParaMinGRU(Cell):
    """A gated unit without recurrent weights. Rows of B, b and bx: z, n. State: h.

    z is the weight of the new value n. Both come from the input alone, and n has no activation.
    The step is linear in h, so the first update of Newton's method is the solution.

    z = s(bx_z);  n = bx_n;  h' = (1 - z) h + z n
    """

    num_gates: ClassVar[int] = 2
    num_states: ClassVar[int] = 1
    num_recurrent: ClassVar[int | None] = 0
    jacobian_structure: ClassVar[JacobianStructure] = "diagonal"
    native_name: ClassVar[str | None] = "mingru"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """h (..., D), bx (..., 2, D) -> h' (..., D)."""
        return torch.lerp(h, bx[..., 1, :], bx[..., 0, :].sigmoid())

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """h (n, 1, D), bx (n, 2, D) -> h' (n, 1, D) and J (n, 1, 1, D)."""
        z = bx[:, 0].sigmoid()
        return torch.lerp(h, bx[:, 1:], z.unsqueeze(1)), (1 - z)[:, None, None]
