"""The result of a cell's self-check, with the text that it prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

JACOBIAN_TOLERANCE = GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class CellCheck:
    """The result of check_cell. An error is relative to the largest value of what it compares.

    states_error: states solved in parallel against those step by step, in the cell's dtype
    states_bound: the largest states_error that rounding explains
    jacobian_error: the Jacobian that solvers use against differences of recurrence_step, in float64
    outside_structure: the largest derivative that jacobian_structure declares to be zero
    largest_derivative: the largest entry of the Jacobian; 0 is a problem
    largest_state: the largest state, in float64
    state_limit: the largest state that a cell whose states grow no faster than a sum reaches
    own_linearize: the cell has a closed-form Jacobian instead of the one by differentiation
    gradient_error: all gradients against autograd through the plain loop, in float64; None where the
    Jacobian is wrong or the solve did not converge
    iterations, converged, fallbacks, units: see NewtonResult
    """

    cell: str
    jacobian_structure: str
    states_error: float
    states_bound: float
    jacobian_error: float
    outside_structure: float
    largest_derivative: float
    largest_state: float
    state_limit: float
    own_linearize: bool
    gradient_error: float | None
    iterations: int
    converged: bool
    fallbacks: int
    units: int

    @property
    def ok(self) -> bool:
        """True where no problem was found."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each problem, with the cause and the remedy."""
        return tuple(self._problems())

    # A comparison with NaN is false. So each one is true for a good value, and NaN counts as a problem.
    def _problems(self) -> Iterator[str]:
        step = f"{self.cell}.recurrence_step"
        if not self.outside_structure <= JACOBIAN_TOLERANCE:
            yield (
                f"the Jacobian of {step} is not {self.jacobian_structure!r}: declare a jacobian_structure "
                "that holds all of its derivatives"
            )
        elif not self.jacobian_error <= JACOBIAN_TOLERANCE:
            yield self._jacobian_problem(step)
        elif self.largest_derivative == 0:
            yield (
                f"every derivative of {step} with respect to h is 0: the step does not use h, or only "
                "through sign, round or a comparison; without a derivative it cannot be trained through time"
            )
        if self.largest_state > self.state_limit:
            yield (
                f"the states of {step} grow without bound (largest {self.largest_state:.1e}): make its "
                "recurrent weights smaller (clip_recurrent_), or bound the state, for example with tanh"
            )
        if not self.converged:
            yield f"Newton did not converge: look for NaN in {step}, and at cell.newton"
        elif self.fallbacks:
            yield (
                f"{self.fallbacks} of {self.units} units were solved step by step: make the recurrent "
                f"weights of {step} smaller (clip_recurrent_), or allow more iterations (cell.newton)"
            )
        if not self.states_error <= self.states_bound:
            yield f"the states of {step} differ between modes by more than {self.states_bound:.1e}"
        if self.gradient_error is not None and not self.gradient_error <= GRADIENT_TOLERANCE:
            yield f"the gradients of {step} differ between modes by more than {GRADIENT_TOLERANCE:.0e}"

    def _jacobian_problem(self, step: str) -> str:
        if self.own_linearize:
            return (
                f"{self.cell}.linearize is not the derivative of {step}: correct or remove linearize, and "
                "write the step without torch.no_grad, detach and jumps"
            )
        return (
            f"{step} hides a dependence on h from differentiation: write it without h.detach(), "
            "torch.no_grad, numpy and jumps"
        )

    def __str__(self) -> str:
        gradients = "not measured" if self.gradient_error is None else f"error {self.gradient_error:.1e}"
        jacobian = max(self.jacobian_error, self.outside_structure)
        converged = "converged" if self.converged else "not converged"
        lines = (
            f"{self.cell}: {'no problem found' if self.ok else 'problems found'}",
            f"  states     error {self.states_error:.1e}, parallel against step by step",
            f"  Jacobian   error {jacobian:.1e}, against differences",
            f"  gradients  {gradients}, against autograd through the loop",
            f"  Newton     {self.iterations} iterations, {converged}, "
            f"{self.fallbacks} of {self.units} units solved step by step",
        )
        return "\n".join((*lines, *(f"  problem: {problem}" for problem in self.problems)))
