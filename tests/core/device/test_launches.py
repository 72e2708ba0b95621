"""Kernels that a layer of a decode launches on a CUDA device, counted without a device."""

from collections.abc import Callable
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from pararnn_core.device import matrix
from pararnn_core.device.rows import TorchRows
from pararnn_core.device.solvers import StepByStep
from pararnn_core.models.pararnn import device_model
from pararnn_core.models.pararnn.device_layer import Recurrence
from tests.core.batches import Chunk, feed, poisoned
from tests.core.device.models import on_device
from tests.fixtures import tiny_model

ROW_OPERATIONS = 5
"""Convolution, gated norm, two sums with their norms, the product in the middle of the MLP."""
WITHOUT_MEMORY = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::detach")


class Counted(TorchDispatchMode):
    """Names of all operations that are kernels on a device; what goes through `as_one` is one there."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._is_inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if not self._is_inside and not func.is_view and name not in WITHOUT_MEMORY:
            self.names.append(name)
        return func(*args, **kwargs or {})

    def as_one(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.names.append(name)
            self._is_inside = True
            result = operation(*args)
            self._is_inside = False
            return result

        return counted


class CountedRows:
    """The row operations in torch, each of which is one kernel on a device."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._counted.as_one(name, getattr(TorchRows(), name))


class CountedSolver(StepByStep):
    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def choose(self, channels: int, longest: int) -> Recurrence:
        return self._counted.as_one("recurrence", super().choose(channels, longest))


@pytest.mark.parametrize(("heads", "products"), [(1, 6), (4, 8)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_layer_of_a_decode_is_its_products_five_row_operations_and_the_recurrence(
    cell: str, heads: int, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = []
    multiply = matrix.multiply
    for layers in (2, 3):
        counted = Counted()
        monkeypatch.setattr(matrix, "multiply", counted.as_one("product", multiply))
        monkeypatch.setattr(device_model, "row_operations_on", lambda device, of=counted: CountedRows(of))
        model = on_device(
            tiny_model(cell, num_hidden_layers=layers, num_heads=heads), solvers=CountedSolver(counted)
        )
        state = poisoned(model, 3)
        with counted:
            feed(model, state, [Chunk(slot, [5], True) for slot in range(3)])
        launches.append(sorted(counted.names))
    for name in launches[0]:
        launches[1].remove(name)
    assert launches[1].count("product") == products
    assert len(launches[1]) == products + ROW_OPERATIONS + 1, launches[1]
