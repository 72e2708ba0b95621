"""ParaLSTM: coupled input and forget gates, peepholes, channels that do not mix inside the recurrence."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pararnn_core.cells.base import Cell
from pararnn_core.cells.recurrence import JacobianStructure


class _Gates(NamedTuple):
    f: Tensor
    g: Tensor
    o: Tensor
    new_c: Tensor
    tanh_c: Tensor


class ParaLSTM(Cell):
    """A long short-term memory with peepholes. State: (c, h); y is h.

    Rows of A, B, b and bx: f, o, g. Rows of C, the peepholes: f, o.

    f = s(a_f h + p_f c + bx_f);  g = tanh(a_g h + bx_g);  c' = f c + (1 - f) g
    o = s(a_o h + p_o c' + bx_o);  h' = o tanh(c').  The output peephole sees the new c'.
    """

    num_gates: ClassVar[int] = 3
    num_states: ClassVar[int] = 2
    num_peepholes: ClassVar[int] = 2
    jacobian_structure: ClassVar[JacobianStructure] = "block_diagonal"
    native_name: ClassVar[str | None] = "lstm"

    def __init__(self, input_dim: int, state_dim: int, num_heads: int = 1) -> None:
        super().__init__(input_dim, state_dim, num_heads)
        self.C = nn.Parameter(torch.empty(2, state_dim))
        # The base class drew its parameters before C existed.
        self.reset_parameters()

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """h (..., 2, D) as (c, h), bx (..., 3, D) -> the next (..., 2, D)."""
        gates = self._gates(h, bx)
        return torch.stack((gates.new_c, gates.o * gates.tanh_c), dim=-2)

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """h (n, 2, D), bx (n, 3, D) -> the next (n, 2, D) and J (n, 2, 2, D), a row for each new state."""
        c = h[:, 0]
        f, g, o, new_c, tanh_c = self._gates(h, bx)
        (a_f, a_o, a_g), (p_f, p_o) = self.A, self.C
        by_f = (c - g) * f * (1 - f)
        c_by_c = f + by_f * p_f
        c_by_h = by_f * a_f + (1 - f) * (1 - g * g) * a_g
        by_o = tanh_c * o * (1 - o)
        h_by_new_c = by_o * p_o + o * (1 - tanh_c * tanh_c)
        of_c = torch.stack((c_by_c, c_by_h), dim=1)
        of_h = torch.stack((h_by_new_c * c_by_c, by_o * a_o + h_by_new_c * c_by_h), dim=1)
        return torch.stack((new_c, o * tanh_c), dim=1), torch.stack((of_c, of_h), dim=1)

    def _gates(self, state: Tensor, bx: Tensor) -> _Gates:
        c, h = state.unbind(-2)
        pre_f, pre_o, pre_g = torch.addcmul(bx, self.A, h.unsqueeze(-2)).unbind(-2)
        f = torch.addcmul(pre_f, self.C[0], c).sigmoid()
        g = pre_g.tanh()
        new_c = torch.lerp(g, c, f)
        o = torch.addcmul(pre_o, self.C[1], new_c).sigmoid()
        return _Gates(f, g, o, new_c, new_c.tanh())
