"""A call of a cell with other tensors as its parameters, so that derivatives with respect to them exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from pararnn_core.cells.recurrence import Recurrence

Result = TypeVar("Result")


class _Holder(nn.Module):
    """A module whose forward runs a task. functional_call swaps parameters only during a forward."""

    def __init__(self, cell: Recurrence) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, task: Callable[[Recurrence], Result]) -> Result:
        return task(self.cell)


def with_parameters(
    cell: Recurrence, parameters: Sequence[Tensor], task: Callable[[Recurrence], Result]
) -> Result:
    """Return task(cell), run with these tensors in the place of cell.solved_parameters()."""
    named = {
        f"cell.{name}": tensor for name, tensor in zip(cell.solved_parameters(), parameters, strict=True)
    }
    result: Result = functional_call(_Holder(cell), named, (task,))
    return result
