"""Finding and loading the native library."""

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
    """The native library was not built or was not installed with the package."""


def _candidates() -> list[Path]:
    # An editable install keeps the library outside of the source folder, hence the whole __path__.
    named = os.environ.get("PARARNN_LIBRARY")
    return [Path(named)] if named else [Path(root) / "lib" / LIBRARY_NAME for root in pararnn_core.__path__]


def library_path() -> Path | None:
    """The file that is or would be loaded."""
    return next((path for path in _candidates() if path.is_file()), None)


@functools.cache
def is_available() -> bool:
    """Whether the native library is there; the plain PyTorch code runs without it."""
    return library_path() is not None


@functools.cache
def has_cuda_kernels() -> bool:
    """Whether the library of the CUDA kernels is there, and this torch can load it."""
    path = library_path()
    return path is not None and torch.version.cuda is not None and path.with_name(CUDA_LIBRARY_NAME).is_file()


@functools.cache
def native() -> Any:
    """The namespace torch.ops.pararnn, loaded at the first call.

    Raises NativeLibraryMissing if there is no library, OSError if this torch cannot load it.
    """
    path = library_path()
    if path is None:
        raise NativeLibraryMissing(
            f"there is no native library at {' or '.join(map(str, _candidates()))}; "
            "build it with `pip install --no-build-isolation -e .` or name its file in PARARNN_LIBRARY"
        )
    cuda = [path.with_name(CUDA_LIBRARY_NAME)] if has_cuda_kernels() else []
    for library in (path, *cuda):
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    autograd.register()
    return torch.ops.pararnn
