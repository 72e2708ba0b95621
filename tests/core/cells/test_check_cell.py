"""check_cell finds nothing in right cells, and says what is wrong with others."""

import warnings
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from pararnn_core.cells import Cell, NewtonOptions, ParaGRU, check_cell
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.core.cells.faulty_cells import FAULTS
from tests.core.cells.user_cells import ALL_CELLS, Elman, MiscalledDiagonal, Mixing

# Torch scripts its own forward-mode rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_nothing_is_found_in_a_right_cell(cls: type[Cell], dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    report = check_cell(cls(6, 6).to(dtype), tokens=40)
    assert report.problems == ()
    assert report.ok
    assert report.converged
    assert report.gradient_error is not None
    assert max(report.jacobian_error, report.gradient_error) < 1e-7
    assert report.iterations > 0
    assert report.fallbacks == 0 < report.units
    assert str(report).startswith(f"{cls.__name__}: no problem found\n")


def test_given_input_is_what_is_solved() -> None:
    cell, x = ParaGRU(4, 6), torch.randn(3, 20, 4)
    report = check_cell(cell, x, torch.zeros(3, 1, 6))
    assert report.ok
    assert report.units == 3 * 6
    assert check_cell(cell, x[0]).units == 6
    assert check_cell(cell, x) == check_cell(cell, x)


class WrongLinearize(Elman):
    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = super().linearize(h, bx)
        return value, 0.5 * jacobian


class Detached(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(0.4 * h.detach() + bx[..., 0, :])


class Explodes(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.exp(40 * h.abs() + 40) + bx[..., 0, :]


class Jumps(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.sign(h + bx[..., 0, :])


class Grows(Cell):
    factor = 2.0

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return self.factor * h + bx[..., 0, :]


class GrowsSlowly(Grows):
    factor = 1.2


class Sums(Grows):
    factor = 1.0


class GrowsWrongly(Grows):
    def linearize(self, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = super().linearize(h, bx)
        return value, 1.001 * jacobian


class MixesSizes(Cell):
    """One channel grows, and every channel reads it."""

    jacobian_structure = "dense"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.cat((2.0 * h[..., :1], h[..., 1:] * 0.5 + h[..., :1]), -1) + bx[..., 0, :]


def stiff() -> Cell:
    cell = Elman(6, 6)
    cell.newton = NewtonOptions(max_iterations=1)
    with torch.no_grad():
        cell.A.fill_(0.9)
    return cell


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: MiscalledDiagonal(6, 6),
            "the Jacobian of MiscalledDiagonal.recurrence_step is not 'diagonal'",
        ),
        (lambda: WrongLinearize(6, 6), "is not the derivative of WrongLinearize.recurrence_step"),
        (lambda: Detached(6, 6), "Detached.recurrence_step hides a dependence on h from differentiation"),
        (lambda: Jumps(6, 6), "every derivative of Jumps.recurrence_step with respect to h is 0"),
        (lambda: Grows(6, 6), "the states of Grows.recurrence_step grow without bound (largest "),
        (lambda: Explodes(6, 6), "Newton did not converge: look for NaN in Explodes.recurrence_step"),
        (stiff, "12 of 12 units were solved step by step: make the recurrent weights of Elman.recurrence"),
    ],
)
def test_a_problem_is_one_sentence_that_names_the_step(make: Callable[[], Cell], problem: str) -> None:
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        report = check_cell(make())
    assert not report.ok
    assert any(problem in each for each in report.problems), report.problems
    assert f"  problem: {report.problems[0]}" in str(report)


@pytest.mark.parametrize("cls", [Grows, GrowsSlowly, MixesSizes])
def test_a_right_derivative_of_growing_states_is_not_blamed(cls: type[Cell]) -> None:
    torch.manual_seed(3)
    report = check_cell(cls(6, 6))
    assert [problem for problem in report.problems if "grow without bound" not in problem] == []
    assert len(report.problems) == 1
    assert report.jacobian_error < 1e-5
    assert report.gradient_error is not None


def test_a_sum_of_inputs_does_not_grow_without_bound() -> None:
    torch.manual_seed(3)
    assert check_cell(Sums(6, 6)).ok
    assert check_cell(Sums(6, 6), torch.ones(1, 500, 6)).ok


def test_a_wrong_derivative_of_growing_states_is_found() -> None:
    torch.manual_seed(3)
    assert any("linearize is not the derivative" in each for each in check_cell(GrowsWrongly(6, 6)).problems)


def test_a_cell_without_linearize_is_not_blamed_for_it() -> None:
    assert "linearize" not in str(check_cell(Detached(6, 6)))


def test_a_wrong_structure_names_the_class_and_the_value() -> None:
    with pytest.raises(ValueError, match=r"Bad\.jacobian_structure: must be one of .*, got 'diagnal'"):
        type("Bad", (Cell,), {"jacobian_structure": "diagnal"})


@pytest.mark.parametrize("cls", FAULTS)
def test_a_step_that_breaks_a_rule_is_an_error_that_names_it(cls: type[Cell]) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=FAULTS[cls]) as raised:
        check_cell(cls(4, 4))
    assert str(raised.value).startswith(f"{cls.__name__}.recurrence_step ")


def test_the_cell_and_the_generator_stay_as_they_are() -> None:
    cell = ParaGRU(4, 4)
    cell(torch.randn(1, 5, 4), mode="parallel")
    before, solve, random = deepcopy(cell.state_dict()), cell.last_solve, torch.get_rng_state()
    check_cell(cell)
    assert cell.last_solve is solve
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in cell.state_dict().items())
    assert all(parameter.grad is None for parameter in cell.parameters())


def test_a_wide_dense_cell_is_checked_in_bounded_pieces() -> None:
    assert check_cell(Mixing(70, 70), tokens=9).ok


def test_a_quantised_cell_and_an_empty_input_are_refused() -> None:
    cell = ParaGRU(16, 16)
    with pytest.raises(ValueError, match="tokens: "):
        check_cell(cell, torch.zeros(1, 0, 16))
    del cell.B
    cell.B = QuantizedMatrix.__new__(QuantizedMatrix)
    with pytest.raises(ValueError, match="cell: is quantised"):
        check_cell(cell)
