"""A recurrence as solvers see it: a step, its Jacobian, and the parameters that both read."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from pararnn_core.cells.checked_step import checked_step
from pararnn_core.cells.jacobian import linearize_dense, linearize_per_channel
from pararnn_core.solvers.newton import NewtonOptions, NewtonResult

JacobianStructure = Literal["diagonal", "block_diagonal", "dense"]


class Recurrence(nn.Module):
    """h_t = f(h_{t-1}, bx_t). A subclass sets class attributes, writes recurrence_step and makes A.

    Solvers read it and know no cell; Cell adds the input projection and chooses a solver.
    """

    num_gates: ClassVar[int] = 1
    num_states: ClassVar[int] = 1
    num_peepholes: ClassVar[int] = 0
    jacobian_structure: ClassVar[JacobianStructure] = "diagonal"
    native_name: ClassVar[str | None] = None
    """Name of this very recurrence_step in ops.recurrence; None if it has no kernel there."""

    A: nn.Parameter
    state_dim: int
    last_solve: NewtonResult | None
    """Report of Newton in the latest call; None if that was solved step by step."""
    newton: NewtonOptions
    """Options of the modes that use Newton; may be assigned."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.jacobian_structure not in get_args(JacobianStructure):
            raise ValueError(f"jacobian_structure: must be one of {get_args(JacobianStructure)}")
        if cls.jacobian_structure == "diagonal" and cls.num_states != 1:
            raise ValueError("jacobian_structure: 'diagonal' means one state a channel; use 'block_diagonal'")
        if "recurrence_step" in vars(cls):
            # What a parent knew about its own step is not true of another one.
            inherited = {"native_name": None, "linearize": Recurrence.linearize}
            for name in inherited.keys() - vars(cls).keys():
                setattr(cls, name, inherited[name])

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """h (..., N, D), or (..., D) where N is 1; bx (..., G, D) -> the next h, of the same shape.

        To be written in differentiable torch operations, without random numbers; leading dimensions must not
        influence each other. It gets copies, which it may change in place.
        """
        raise NotImplementedError(f"{type(self).__name__} must define recurrence_step(h, bx)")

    def solved_parameters(self) -> dict[str, nn.Parameter]:
        """Those that recurrence_step may read: of a user's cell all, by name."""
        parameters = dict(self.named_parameters())
        if self.native_name is not None:
            return {name: p for name, p in parameters.items() if name not in ("B", "b")}
        return parameters

    def advance(self, h: Tensor, bx: Tensor) -> Tensor:
        """recurrence_step with the state always (n, N, D); bx (n, G, D)."""
        if self.num_states == 1:
            return self._step(h.squeeze(1), bx).unsqueeze(1)
        return self._step(h, bx)

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """h (n, N, D), bx (n, G, D) -> the next state (n, N, D) and its Jacobian by h.

        The Jacobian is (n, N, N, D), or (n, N*D, N*D) for "dense"; a subclass may know it in closed form.
        """
        linearize = linearize_dense if self.jacobian_structure == "dense" else linearize_per_channel
        return linearize(self.advance, h, bx)

    @property
    def tile_span(self) -> int:
        """Time steps in a tile: bounds the working memory of Newton and of backward."""
        return 64 if self.jacobian_structure == "dense" else 256

    def _step(self, h: Tensor, bx: Tensor) -> Tensor:
        if self.native_name is not None:
            return self.recurrence_step(h, bx)
        return checked_step(self.recurrence_step, type(self).__name__, h, bx)
