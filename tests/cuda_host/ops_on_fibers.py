"""The ops of a GPU from Python's call to the kernel's last thread, on CPU tensors, fibers for the GPU."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.device import matrix, products, rows, solvers
from pararnn_core.models.pararnn import device_model as model
from pararnn_core.ops.cells import cell_number
from pararnn_core.ops.library import native
from pararnn_core.solvers.solver_table import STEP_BY_STEP, SolverTable
from tests.native_build import build

MULTIPROCESSORS = 2
_NAMESPACE = "pararnn_on_fibers"


@functools.cache
def library() -> Any:
    """torch.ops.pararnn_on_fibers."""
    path = build("cuda_ops_on_fibers") / "cuda_host_tests" / "libcuda_ops_on_fibers.so"
    native()
    torch.ops.load_library(str(path))
    return getattr(torch.ops, _NAMESPACE)


def has_kernel(name: str) -> bool:
    """Return True if the op has a CUDA kernel."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"{_NAMESPACE}::{name}", "CPU"))


class _Ops:
    """A substitute of torch.ops.pararnn that runs ops with CUDA kernels on fibers."""

    def __getattr__(self, name: str) -> Any:
        return getattr(library() if has_kernel(name) else native(), name)


def use_fibers(patch: pytest.MonkeyPatch, time_warps: int = STEP_BY_STEP) -> None:
    """Make pararnn_core run its CUDA kernels on CPU tensors.

    time_warps: of every recurrence of a model.
    """
    on_fibers = _Ops()
    library()
    for name in ("elementwise", "products", "recurrence", "sampling", "scans"):
        patch.setattr(importlib.import_module(f"pararnn_core.ops.{name}"), "native", lambda: on_fibers)
    # A CPU's adds the bias before it calls its kernel.
    patch.setattr(ops, "recurrence_", recurrence_with_bias)
    patch.setattr(ops, "has_cuda_kernels", lambda: True)
    patch.setattr(solvers, "multiprocessors", lambda device: MULTIPROCESSORS)
    patch.setattr(model, "solvers_on", _solvers(time_warps))
    patch.setattr(model, "row_operations_on", lambda device: rows.row_operations_on(torch.device("cuda")))
    patch.setattr(matrix, "kernels_for", lambda weight: ops if products._are_taken(weight) else None)


def recurrence_with_bias(cell: str, *tensors: Tensor | None) -> Tensor:
    """Run ops.recurrence_ as on CUDA, where the kernel adds the bias. All arguments are positional."""
    y: Tensor = library().recurrence_(cell_number(cell), *tensors)
    return y


def _solvers(time_warps: int) -> Callable[..., solvers.Solvers]:
    always = {"float32": [(math.inf, [(0, time_warps)])], "bfloat16": [(math.inf, [(0, time_warps)])]}
    table = SolverTable(None, {"gru": always, "lstm": always})
    return lambda device, cell, dtype=torch.float32: solvers.Solvers(cell, device, dtype, table)
