"""Cells as a user writes them, one for each Jacobian structure, and the loop that every solver must match."""

from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.cells import CELLS, Cell


class Elman(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(self.A[0] * h + bx[..., 0, :])


class Oscillator(Cell):
    num_gates = 2
    num_states = 2
    jacobian_structure = "block_diagonal"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        place, speed = h.unbind(-2)
        speed = torch.tanh(self.A[0] * speed - self.A[1] * place + bx[..., 0, :])
        return torch.stack((place * torch.sigmoid(bx[..., 1, :]) + speed, speed), dim=-2)


class Ring(Cell):
    num_states = 3
    jacobian_structure = "block_diagonal"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h.roll(1, -2) * self.A + 0.3 * h + bx)


class Mixing(Cell):
    jacobian_structure = "dense"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h @ self.A[0] + bx[..., 0, :])


class MixingPair(Cell):
    num_gates = 2
    num_states = 2
    jacobian_structure = "dense"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h.flip(-2) @ self.A[0] + 0.5 * h + bx)


class MiscalledDiagonal(Mixing):
    """Declares less than its step does."""

    jacobian_structure = "diagonal"

    def __init__(self, input_dim: int, state_dim: int) -> None:
        super().__init__(input_dim, state_dim)
        self.A = torch.nn.Parameter(torch.randn(1, state_dim, state_dim))


USER_CELLS = [Elman, Oscillator, Ring, Mixing, MixingPair]
ALL_CELLS = [*CELLS.values(), *USER_CELLS]


class Problem(NamedTuple):
    """bx: (T, G, D), initial_state: (S, N, D), both requiring gradients; cu_seqlens: (S+1,)."""

    cell: Cell
    bx: Tensor
    initial_state: Tensor
    cu_seqlens: Tensor


def make_problem(
    cls: type[Cell], lengths: list[int], seed: int, dtype: torch.dtype = torch.float64, channels: int = 6
) -> Problem:
    print(f"{cls.__name__}, lengths {lengths}, seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    cell = cls(channels, channels)
    with torch.no_grad():
        for weight in cell.recurrent_parameters():
            weight.uniform_(-0.9, 0.9, generator=generator)
    bx = torch.randn(sum(lengths), cell.num_gates, channels, generator=generator, dtype=torch.float64)
    state = torch.randn(len(lengths), cell.num_states, channels, generator=generator, dtype=torch.float64)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    return Problem(
        cell.to(dtype), bx.to(dtype).requires_grad_(), state.to(dtype).requires_grad_(), cu_seqlens
    )


def plain_loop(problem: Problem) -> Tensor:
    """States (T, N, D), one sequence and one token after the other, differentiated by autograd alone."""
    cell, bx, initial_state, cu_seqlens = problem
    states = []
    for sequence, (start, stop) in enumerate(torch.stack((cu_seqlens[:-1], cu_seqlens[1:]), 1).tolist()):
        h = initial_state[sequence]
        for t in range(start, stop):
            h = cell.recurrence_step(h.squeeze(0), bx[t]).view_as(h)
            states.append(h)
    return torch.stack(states) if states else bx.new_empty(0, *initial_state.shape[1:])


def gradients(problem: Problem, states: Tensor, weights: Tensor) -> list[Tensor]:
    """Return the gradients of sum(states * weights) by bx, the initial state and each recurrent parameter."""
    inputs = [problem.bx, problem.initial_state, *problem.cell.recurrent_parameters()]
    return list(torch.autograd.grad(states, inputs, weights, materialize_grads=True))
