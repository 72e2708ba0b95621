"""A cell whose parameters are other tensors for a while: those that a derivative is taken by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from pararnn_core.cells.recurrence import Recurrence

Result = TypeVar("Result")


class _Holder(nn.Module):
    """functional_call swaps the parameters of a module during its forward, so the task is its forward."""

    def __init__(self, cell: Recurrence) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, task: Callable[[Recurrence], Result]) -> Result:
        return task(self.cell)


def with_parameters(
    cell: Recurrence, parameters: Sequence[Tensor], task: Callable[[Recurrence], Result]
) -> Result:
    """Return task(cell) while cell.solved_parameters() are these tensors."""
    named = {
        f"cell.{name}": tensor for name, tensor in zip(cell.solved_parameters(), parameters, strict=True)
    }
    result: Result = functional_call(_Holder(cell), named, (task,))
    return result
