"""Steps that users write: what is allowed works in every mode, what is not has one clear error."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pararnn_core.cells import Cell, kernels
from pararnn_core.cells.solve import solve
from pararnn_core.solvers.newton import NewtonOptions
from tests.core.cells.faulty_cells import FAULTS, BatchMean, WithDropout
from tests.core.cells.user_cells import Elman, MiscalledDiagonal, gradients, make_problem, plain_loop

# Torch scripts its own forward-mode rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

MODES = ["auto", "sequential", "parallel"]


class InPlace(Cell):
    """Changes all that it is given."""

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        bx *= 0.5
        h *= self.A[0]
        h += bx[..., 0, :]
        return h.tanh_()


class OutOfPlace(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h * self.A[0] + 0.5 * bx[..., 0, :])


class Unchanged(Cell):
    """A cell whose step returns its own argument."""

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return h


@pytest.mark.parametrize("mode", MODES)
def test_step_in_place_equals_step_out_of_place(mode: str) -> None:
    seed = torch.seed()
    problem, other = (make_problem(cls, [5, 0, 90, 33], seed) for cls in (InPlace, OutOfPlace))
    states, expected = problem.cell.recurrence(*problem[1:], mode), plain_loop(other)
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(states)
    for got, want in zip(
        gradients(problem, states, weights), gradients(other, expected, weights), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_step_may_return_its_input(mode: str) -> None:
    _, bx, initial_state, cu_seqlens = make_problem(Unchanged, [3, 4], torch.seed())
    states = Unchanged(6, 6).double().recurrence(bx, initial_state, cu_seqlens, mode)
    assert torch.equal(states, initial_state.repeat_interleave(torch.tensor([3, 4]), 0))


@pytest.mark.parametrize("mode", [*MODES, "parallel_cuda"])
@pytest.mark.parametrize("cls", FAULTS)
def test_faulty_step_is_named_in_every_mode(cls: type[Cell], mode: str) -> None:
    cell = cls(4, 4)
    bx = torch.randn(12, cell.num_gates, 4)
    start, bounds = torch.zeros(2, cell.num_states, 4), torch.tensor([0, 5, 12], dtype=torch.int32)
    with pytest.raises((TypeError, ValueError, RuntimeError), match=FAULTS[cls]) as raised:
        if mode == "parallel_cuda":
            solve(kernels.PARALLEL_CUDA, cell, bx, start, bounds)
        else:
            cell.recurrence(bx, start, bounds, mode)
    assert str(raised.value).startswith(f"{cls.__name__}.recurrence_step ")


@pytest.mark.parametrize("mode", MODES)
def test_dropout_is_refused_where_it_drops_only(mode: str) -> None:
    cell, x = WithDropout(4, 4), torch.randn(2, 5, 4)
    cell.eval()
    y, _ = cell(x, mode=mode)
    cell.train()
    with pytest.raises(ValueError, match="is random"):
        cell(x, mode=mode)
    cell.eval()
    torch.testing.assert_close(cell(x, mode=mode)[0], y)


def test_trying_a_step_draws_nothing_from_the_users_generator() -> None:
    cell, x = WithDropout(4, 4), torch.randn(2, 5, 4)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="is random"):
        cell(x)
    assert torch.equal(before, torch.get_rng_state())


def mixes_later(cell: BatchMean) -> BatchMean:
    """A step that was tried before it began to mix rows."""
    object.__setattr__(cell, "recurrence_step", lambda h, bx: torch.tanh(h + bx[..., 0, :]))
    cell(torch.zeros(1, 1, 4))
    object.__delattr__(cell, "recurrence_step")
    return cell


@pytest.mark.filterwarnings("ignore:.*converged nowhere:RuntimeWarning")
@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    scale=st.floats(0.1, 4.0),
    updates=st.integers(0, 8),
    fallback=st.booleans(),
    mixing=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_converged_only_where_the_states_are_those_of_the_step(
    lengths: list[int], scale: float, updates: int, fallback: bool, mixing: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    cell: Cell = mixes_later(BatchMean(4, 4)) if mixing else Elman(4, 4)
    with torch.no_grad():
        cell.A.copy_(scale * torch.randn(cell.A.shape, generator=generator))
    cell.newton = NewtonOptions(max_iterations=updates, fallback=fallback)
    bx = torch.randn(sum(lengths), 1, 4, generator=generator)
    start = torch.randn(len(lengths), 1, 4, generator=generator)
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    states = cell.recurrence(bx, start, bounds, "parallel")
    assert cell.last_solve is not None
    if not cell.last_solve.converged:
        return
    for s, (first, end) in enumerate(itertools.pairwise(bounds.tolist())):
        previous = torch.cat((start[s : s + 1], states[first:end]))
        for t in range(first, end):
            true = cell.advance(previous[t - first, None], bx[t, None])
            assert (true - states[t]).abs().le(1e-4 * (1 + true.abs())).all()


def test_newton_that_helps_nowhere_warns_once() -> None:
    cell, x = MiscalledDiagonal(8, 8), torch.randn(1, 40, 8)
    with torch.no_grad():
        cell.A.mul_(5)
    with pytest.warns(
        RuntimeWarning, match="MiscalledDiagonal: Newton converged nowhere in 8 updates; all 8"
    ):
        cell(x, mode="parallel")
    assert cell.last_solve is not None
    assert cell.last_solve.fallbacks == cell.last_solve.units == 8
    cell(x, mode="parallel")
