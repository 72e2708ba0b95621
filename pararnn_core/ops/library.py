"""Search and loading of the native library."""

import functools
import os
from pathlib import Path
from typing import Any

import torch

import pararnn_core
from pararnn_core.ops import autograd

LIBRARY_NAME = "libpararnn_cpu.so"
CUDA_LIBRARY_NAME = "libpararnn_cuda.so"


class NativeLibraryMissing(RuntimeError):
    """Error: the native library was not built or not installed with the package."""


def _candidates() -> list[Path]:
    # An editable install keeps the library outside of the source folder, so all of __path__ is searched.
    named = os.environ.get("PARARNN_LIBRARY")
    return [Path(named)] if named else [Path(root) / "lib" / LIBRARY_NAME for root in pararnn_core.__path__]


def library_path() -> Path | None:
    """Return the library's file, loaded or not; None if there is none."""
    return next((path for path in _candidates() if path.is_file()), None)


@functools.cache
def _is_available() -> bool:
    return library_path() is not None


def is_available() -> bool:
    """Return True if the native library exists. The plain PyTorch code runs without it."""
    return _is_available()


@functools.cache
def has_cuda_kernels() -> bool:
    """Return True if the library of the CUDA kernels exists and this torch can load it."""
    path = library_path()
    return path is not None and torch.version.cuda is not None and path.with_name(CUDA_LIBRARY_NAME).is_file()


@functools.cache
def native() -> Any:
    """Return the namespace torch.ops.pararnn, which the first call loads.

    Raises NativeLibraryMissing if there is no library, OSError if this torch cannot load it.
    """
    path = library_path()
    if path is None:
        raise NativeLibraryMissing(
            f"there is no native library at {' or '.join(map(str, _candidates()))}; "
            "build it with `pip install --no-build-isolation -e .`, or set PARARNN_LIBRARY to its file"
        )
    cuda = [path.with_name(CUDA_LIBRARY_NAME)] if has_cuda_kernels() else []
    for library in (path, *cuda):
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    # The operations must exist before gradients can be registered for them.
    autograd.register()
    return torch.ops.pararnn
