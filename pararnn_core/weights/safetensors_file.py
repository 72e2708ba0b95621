"""Reading of a safetensors file without trust in its contents and without a lasting memory mapping."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pararnn_core.storage.untrusted_file import CheckpointError, open_regular_file, parse_json

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES |= {"I8": torch.int8, "U8": torch.uint8}
_ITEM_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16} | {
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "F8_E4M3": 8, "F8_E5M2": 8
}  # fmt: skip
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 4 << 20
_MAX_DIMENSIONS = 8
_READ_BYTES = 8 << 20

PICKLE_ADVICE = (
    "is a pickle, which can run code when it is read; convert it once: pararnn convert --allow-pickle"
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's entry in a file's header. start and end are byte offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return self.end - self.start


class SafetensorsFile:
    """A safetensors file opened for reading; a context manager. Its header is checked before any allocation.

    Raises CheckpointError if the file has another format or is truncated, or if tensors overlap, leave holes
    or reach beyond the end.
    """

    def __init__(self, path: Path, within: Path | None = None) -> None:
        """within: as `open_regular_file` takes it."""
        self.path = path
        self._file = open_regular_file(path, within)
        try:
            self.tensors = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str, on_chunk: Callable[[memoryview], None] | None = None) -> torch.Tensor:
        """Read a tensor into new memory. on_chunk is called with its bytes in order, a few MiB at a time."""
        info = self.tensors[name]
        if info.dtype not in DTYPES:
            raise CheckpointError(self.path, f"{name} is {info.dtype}: weights must be {', '.join(DTYPES)}")
        data = torch.empty(info.nbytes, dtype=torch.uint8)
        view = data.numpy().data
        self._file.seek(info.start)
        # Between two pieces a load reports its progress and can be cancelled.
        for start in range(0, info.nbytes, _READ_BYTES):
            chunk = view[start : start + _READ_BYTES]
            self._fill(chunk)
            if on_chunk is not None:
                on_chunk(chunk)
        return data.view(DTYPES[info.dtype]).view(info.shape)

    def _fill(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            # A file without a buffer may return fewer bytes than it has.
            count = self._file.readinto(buffer[filled:])
            if not count:
                raise CheckpointError(self.path, "ends early: copy or download it again")
            filled += count

    def _read_header(self) -> dict[str, TensorInfo]:
        size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        # The check for a pickle comes first: its first bytes, read as a length, would look like truncation.
        if is_pickle(start):
            raise CheckpointError(self.path, PICKLE_ADVICE)
        if len(start) < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            raise CheckpointError(self.path, "is truncated or no safetensors file: copy or download it again")
        if length > _MAX_HEADER_BYTES:
            raise CheckpointError(self.path, f"has a header of {length} bytes, more than {_MAX_HEADER_BYTES}")
        header = bytearray(length)
        self._fill(memoryview(header))
        try:
            fields = parse_json(bytes(header))
        except ValueError as error:
            raise self._broken(str(error)) from None
        fields.pop("__metadata__", None)
        base = _LENGTH_BYTES + length
        tensors = {name: self._tensor_info(name, value, base) for name, value in fields.items()}
        self._check_layout(tensors, base, size)
        return tensors

    def _tensor_info(self, name: str, value: object, base: int) -> TensorInfo:
        if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
            raise self._broken(f"{name} needs dtype, shape and data_offsets")
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _ITEM_BITS:
            raise self._broken(f"{name} is of unknown dtype {dtype!r:.40}")
        if not _are_sizes(shape, _MAX_DIMENSIONS) or not _are_sizes(offsets, 2) or len(offsets) != 2:
            raise self._broken(f"shape or data_offsets of {name}")
        info = TensorInfo(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])
        if info.nbytes * 8 != math.prod(shape) * _ITEM_BITS[dtype]:
            raise self._broken(f"the bytes of {name} do not fit its shape and dtype")
        return info

    def _broken(self, why: str) -> CheckpointError:
        return CheckpointError(self.path, f"has a broken header: {why}")

    def _check_layout(self, tensors: dict[str, TensorInfo], base: int, size: int) -> None:
        """Raise CheckpointError unless the tensors fill the rest of the file without holes."""
        # So no header can claim more bytes than the file has.
        end = base
        for info in sorted(tensors.values(), key=lambda info: (info.start, info.end)):
            if info.start != end:
                raise self._broken(f"{info.name} overlaps another tensor or leaves a hole")
            end = info.end
        if end > size:
            raise CheckpointError(
                self.path, f"is truncated ({size} of {end} bytes): copy or download it again"
            )
        if end < size:
            raise CheckpointError(self.path, f"has {size - end} bytes after its last tensor")


def is_pickle(start: bytes) -> bool:
    """Return True if a file with these first 8 bytes is a pickle, bare or in torch's zip archive."""
    # A safetensors file may begin with the same two bytes, but then its header's length is a small number.
    if int.from_bytes(start, "little") <= _MAX_HEADER_BYTES:
        return False
    return start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1] in range(2, 6))


def _are_sizes(value: object, longest: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= longest
        # isinstance would accept true and false, which are integers in Python.
        and all(type(item) is int and 0 <= item < 2**62 for item in value)
    )
