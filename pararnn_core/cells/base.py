"""The base of all cells: parameters, the input projection, and the choice of solver."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pararnn_core import ops
from pararnn_core.cells import kernels, native
from pararnn_core.cells.inputs import check_recurrence, check_sizes, check_x, full_initial_state
from pararnn_core.cells.mode import HasMode, mode_named
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.cells.solve import Solver, solve
from pararnn_core.solvers.newton import NewtonOptions, NewtonResult, newton_solve
from pararnn_core.solvers.sequential import sequential_solve
from pararnn_core.solvers.varlen import equal_cu_seqlens
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

RECURRENT_LIMIT = 0.5


class Cell(HasMode, Recurrence):
    """A recurrence h_t = f(h_{t-1}, bx_t).  A subclass sets class attributes and writes recurrence_step.

    num_gates G: rows of bx.  num_states N: states of a channel.  num_peepholes: rows of C, of a native cell.
    num_recurrent R: rows of A; None is G.
    jacobian_structure of h_t by h_{t-1}: "diagonal" (N is 1); "block_diagonal", one N x N block per channel,
    channels do not mix; "dense", anything, N*D x N*D.

    Parameters: A (R, D), for "dense" (R, D, D), recurrent weights; B (H, Din/H, G, D/H) and b (G, D), input
    projection. A subclass that adds its own calls reset_parameters() afterwards.
    """

    B: nn.Parameter | QuantizedMatrix
    """Input projection. A quantised one has rows (head, gate, output), and its cell cannot be trained."""

    def __init__(self, input_dim: int, state_dim: int, num_heads: int = 1) -> None:
        check_sizes(input_dim, state_dim, num_heads)
        super().__init__()
        self.input_dim, self.state_dim, self.num_heads = input_dim, state_dim, num_heads
        self.newton, self.last_solve = NewtonOptions(), None
        gates, mixing = self.num_gates, self.jacobian_structure == "dense"
        recurrent = torch.empty(self.recurrent_rows(), state_dim, *([state_dim] if mixing else []))
        # A registered None keeps the attribute but is no part of a state dict.
        self.register_parameter("A", nn.Parameter(recurrent) if len(recurrent) else None)
        self.B = nn.Parameter(torch.empty(num_heads, input_dim // num_heads, gates, state_dim // num_heads))
        self.b = nn.Parameter(torch.empty(gates, state_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw B Kaiming uniform (bound sqrt(6 H / Din)) and recurrent weights Xavier normal; set b to zero.

        Recurrent weights are then clamped to +-0.5.
        """
        bound = (6 * self.num_heads / self.input_dim) ** 0.5
        nn.init.uniform_(self.get_parameter("B"), -bound, bound)
        nn.init.zeros_(self.b)
        for weight in self.recurrent_parameters():
            nn.init.normal_(weight, std=(2 / sum(weight.shape[-2:])) ** 0.5)
        self.clip_recurrent_()

    def recurrent_parameters(self) -> list[nn.Parameter]:
        """Return all parameters except those of the input projection."""
        return [p for name, p in self.named_parameters() if name not in ("B", "b")]

    @torch.no_grad()
    def clip_recurrent_(self, limit: float = RECURRENT_LIMIT) -> None:
        """Clamp every recurrent weight to +-limit in place. Training calls it after each update."""
        for weight in self.recurrent_parameters():
            weight.clamp_(-limit, limit)

    def forward(
        self,
        x: Tensor,
        initial_state: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        mode: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return y (as x, last dimension D) and final_state (B, N, D).

        Both are float32, or float64 for a float64 cell.
        x: (B, T, Din); or packed (T, Din) with cu_seqlens (B+1,) int32; without cu_seqlens it is one sequence
        initial_state: (B, N, D), or (B, D) where N is 1; None is zeros
        mode: as `recurrence` takes it
        The final state of a sequence without tokens is its initial state. Raises ValueError naming the input.
        """
        check_x(x, self.input_dim, self.compute_dtype, cu_seqlens)
        if cu_seqlens is None:
            cu_seqlens = equal_cu_seqlens(1 if x.dim() == 2 else x.shape[0], x.shape[-2], x.device)
        bx = self.input_projection(x).flatten(0, -3)
        sizes = (max(cu_seqlens.numel() - 1, 0), self.num_states, self.state_dim)
        initial_state = full_initial_state(initial_state, bx, sizes)
        states = self.recurrence(bx, initial_state, cu_seqlens, mode)
        y = states[:, -1].view(*x.shape[:-1], self.state_dim)
        return y, _final_state(states, initial_state, cu_seqlens)

    def input_projection(self, x: Tensor) -> Tensor:
        """x (..., Din) -> bx (..., G, D), b added, in the dtype of the recurrence."""
        dtype, heads = self.compute_dtype, self.num_heads
        projected: Tensor
        if isinstance(self.B, QuantizedMatrix):
            by_head = self.B.reference_linear(x, heads).view(
                *x.shape[:-1], heads, self.num_gates, self.state_dim // heads
            )
            projected = by_head.transpose(-3, -2).flatten(-2)
        else:
            by_head = x.to(dtype).view(*x.shape[:-1], heads, self.input_dim // heads)
            projected = torch.einsum("...hi,higk->...ghk", by_head, self.B.to(dtype)).flatten(-2)
        # Autocast may have narrowed the product, but the recurrence needs its own dtype.
        return projected.to(dtype) + self.b.to(dtype)

    def recurrence(
        self, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor, mode: str | None = None
    ) -> Tensor:
        """Return the states (T, N, D) of a packed batch, differentiable any number of times in every mode.

        bx: (T, G, D); initial_state: (S, N, D); cu_seqlens: (S+1,) int32
        mode: None, the cell's own mode; "sequential", step by step; "parallel", Newton's method in torch;
        "parallel_cuda", Newton's method with a CUDA kernel for its linear recurrences, any cell in float32;
        "parallel_fused", Newton's method in one CUDA kernel, for the cells in CELLS;
        "auto", the fastest native kernel for this cell and dtype. Where none exists, "auto" is "sequential"
        on a CPU and "parallel" elsewhere.
        """
        if torch.compiler.is_compiling() and self._is_native(bx) and (mode or self.mode) == "auto":
            # A compiler follows the native operation, but not the choice of solvers.
            return native.traced(self, bx, initial_state, cu_seqlens)
        sizes = (self.num_gates, self.num_states, self.state_dim)
        check_recurrence(bx, initial_state, cu_seqlens, sizes, self.compute_dtype)
        solver = self._solver(self.mode if mode is None else mode_named(mode), bx, cu_seqlens)
        # A solve that raises must not leave the result of an earlier one.
        self.last_solve = None
        # Newton converges to a tolerance of float32, which narrower arithmetic never reaches.
        with torch.autocast(bx.device.type, enabled=False):
            return solve(solver, self, bx, initial_state, cu_seqlens)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the arithmetic: float64 for float64 parameters, else float32. Narrower ones are widened."""
        return torch.float64 if self.b.dtype == torch.float64 else torch.float32

    def extra_repr(self) -> str:
        """Return the sizes, for repr()."""
        return f"input_dim={self.input_dim}, state_dim={self.state_dim}, num_heads={self.num_heads}"

    def _solver(self, mode: str, bx: Tensor, cu_seqlens: Tensor) -> Solver:
        if mode in ("parallel_cuda", "parallel_fused"):
            fused = mode == "parallel_fused"
            problem = kernels.unsupported_reason(self, bx, fused)
            if problem is not None:
                raise ValueError(f"mode: {mode!r} {problem}; use 'parallel' or 'auto'")
            return kernels.PARALLEL_FUSED if fused else kernels.PARALLEL_CUDA
        if mode == "parallel":
            return _NEWTON
        if mode == "sequential":
            return _SEQUENTIAL
        if bx.device.type != "cpu":
            known = kernels.unsupported_reason(self, bx, fused=True) is None
            return kernels.fastest(self, bx, cu_seqlens) if known else _NEWTON
        return native.STEP_BY_STEP if self._is_native(bx) else _SEQUENTIAL

    def _is_native(self, bx: Tensor) -> bool:
        """Return True if the native CPU kernels compute this cell for inputs like bx."""
        known = self.native_name is not None and bx.dtype == torch.float32 and bx.device.type == "cpu"
        return known and ops.is_available()


def _sequential(
    cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor
) -> tuple[Tensor, None]:
    return sequential_solve(cell.advance, bx, initial_state, cu_seqlens), None


def _newton(
    cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor
) -> tuple[Tensor, NewtonResult]:
    span, options = cell.tile_span, cell.newton
    return newton_solve(cell.advance, cell.linearize, bx, initial_state, cu_seqlens, span, options)


_SEQUENTIAL, _NEWTON = Solver(_sequential), Solver(_newton)


def _final_state(states: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    if states.shape[0] == 0:
        return initial_state
    # An empty first sequence has no last row. Its index only has to be valid.
    last = states[(cu_seqlens[1:].long() - 1).clamp(min=0)]
    return torch.where(cu_seqlens.diff()[:, None, None] > 0, last, initial_state)
