"""The interface between a cell and the solvers: a step, its Jacobian, and the parameters that both read."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from pararnn_core.cells.checked_step import checked_step
from pararnn_core.cells.jacobian import linearize_dense, linearize_per_channel
from pararnn_core.solvers.newton import NewtonOptions, NewtonResult

JacobianStructure = Literal["diagonal", "block_diagonal", "dense"]


class Recurrence(nn.Module):
    """A recurrence h_t = f(h_{t-1}, bx_t). A subclass sets class attributes, defines recurrence_step and A.

    Solvers depend on this class alone. Cell adds the input projection and chooses a solver.
    """

    num_gates: ClassVar[int] = 1
    num_states: ClassVar[int] = 1
    num_peepholes: ClassVar[int] = 0
    num_recurrent: ClassVar[int | None] = None
    """Rows of A; None: num_gates; 0: the cell has no A."""
    jacobian_structure: ClassVar[JacobianStructure] = "diagonal"
    native_name: ClassVar[str | None] = None
    """Name of this recurrence_step in ops.recurrence; None if it has no kernel there."""

    A: nn.Parameter
    """Recurrent weights. None in a cell that has no rows of A."""
    state_dim: int
    last_solve: NewtonResult | None
    """Newton's result of the latest call; None if that call was solved step by step."""
    newton: NewtonOptions
    """Options of the modes that use Newton's method. They may be assigned."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.jacobian_structure not in get_args(JacobianStructure):
            raise ValueError(
                f"{cls.__name__}.jacobian_structure: must be one of "
                f"{', '.join(get_args(JacobianStructure))}, got {cls.jacobian_structure!r}"
            )
        if cls.jacobian_structure == "diagonal" and cls.num_states != 1:
            raise ValueError(
                f"{cls.__name__}.jacobian_structure: 'diagonal' needs num_states 1, got {cls.num_states}; "
                "use 'block_diagonal'"
            )
        if "recurrence_step" in vars(cls):
            # The parent's kernel and closed-form Jacobian belong to the parent's step, not to this one.
            inherited = {"native_name": None, "linearize": Recurrence.linearize}
            for name in inherited.keys() - vars(cls).keys():
                setattr(cls, name, inherited[name])

    @classmethod
    def recurrent_rows(cls) -> int:
        """Return the number of rows of A."""
        return cls.num_gates if cls.num_recurrent is None else cls.num_recurrent

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        """Return the next h, in the shape of h. h: (..., N, D), or (..., D) where N is 1; bx: (..., G, D).

        Write it in differentiable torch operations, without random numbers. Rows of the leading dimensions
        must not influence each other. The arguments are copies, which the method may change in place.
        """
        raise NotImplementedError(f"{type(self).__name__} must define recurrence_step(h, bx)")

    def solved_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that recurrence_step may read, by name: all of them for a user's cell."""
        parameters = dict(self.named_parameters())
        if self.native_name is not None:
            return {name: p for name, p in parameters.items() if name not in ("B", "b")}
        return parameters

    def advance(self, h: Tensor, bx: Tensor) -> Tensor:
        """Return the next state (n, N, D) by recurrence_step. h: (n, N, D), also for N 1; bx: (n, G, D)."""
        if self.num_states == 1:
            return self._step(h.squeeze(1), bx).unsqueeze(1)
        return self._step(h, bx)

    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state (n, N, D) and its Jacobian with respect to h: (n, N, D); bx: (n, G, D).

        The Jacobian is (n, N, N, D), or (n, N*D, N*D) for "dense". A subclass may give it in closed form.
        """
        linearize = linearize_dense if self.jacobian_structure == "dense" else linearize_per_channel
        return linearize(self.advance, h, bx)

    @property
    def tile_span(self) -> int:
        """Time steps in a tile. The number bounds the working memory of Newton's method and of backward."""
        # A dense Jacobian has D times as many numbers as blocks for each channel.
        return 64 if self.jacobian_structure == "dense" else 256

    def _step(self, h: Tensor, bx: Tensor) -> Tensor:
        if self.native_name is not None:
            return self.recurrence_step(h, bx)
        return checked_step(self.recurrence_step, type(self).__name__, h, bx)
