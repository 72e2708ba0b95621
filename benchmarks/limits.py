"""What the machine can do at most in a second: bytes read and products added, by all threads together."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import seconds

_SOURCE = Path(__file__).with_name("read_bandwidth.c")
_HUGE_PAGE = 2 << 20
_LEAST_BYTES_READ = 1 << 30
_MATRIX = 2048


class NoCompiler(RuntimeError):
    """The reader could not be compiled."""


class Reader:
    """Reads a buffer of a given size over and over with some threads, each its own part of it."""

    def __init__(self, size: int, threads: int, *, huge_pages: bool) -> None:
        self._part = max(_HUGE_PAGE, size // threads // 4096 * 4096)
        self._threads = threads
        self._memory = mmap.mmap(-1, self._part * threads + _HUGE_PAGE)
        if huge_pages:
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        bytes_ = np.frombuffer(self._memory, dtype=np.uint8)
        bytes_[:] = 1
        self._start = bytes_.ctypes.data + (-bytes_.ctypes.data) % _HUGE_PAGE
        self._passes = max(1, _LEAST_BYTES_READ // (self._part * threads))
        self._read_all = _compiled_reader()
        self._pool = ThreadPoolExecutor(threads)

    @property
    def bytes_per_repetition(self) -> int:
        """Bytes that one repetition reads, all threads together."""
        return self._part * self._threads * self._passes

    def repeat(self) -> float:
        """Seconds of one repetition."""
        return seconds(lambda: list(self._pool.map(self._read_part, range(self._threads))))

    def _read_part(self, index: int) -> int:
        return int(self._read_all(self._start + index * self._part, self._part, self._passes))


def _compiled_reader() -> ctypes._NamedFuncPointer:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "read_bandwidth.so"
        command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoCompiler(f"cannot compile {_SOURCE.name}: {getattr(error, 'stderr', error)}") from error
        read_all = ctypes.CDLL(str(library)).read_all
    read_all.restype = ctypes.c_uint64
    read_all.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    return read_all


class MatrixProduct:
    """A square product by torch's own library, as many threads as torch is set to."""

    flops = 2 * _MATRIX**3

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        self._a, self._b = (torch.randn(_MATRIX, _MATRIX, generator=generator).to(dtype) for _ in range(2))
        self._out = torch.empty(_MATRIX, _MATRIX, dtype=dtype)

    def repeat(self) -> float:
        """Seconds of one product."""
        return seconds(lambda: torch.mm(self._a, self._b, out=self._out))
