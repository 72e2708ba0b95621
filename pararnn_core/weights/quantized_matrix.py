"""A matrix of 8-bit or 4-bit integers with a scale per row and group of inputs, and its product.

O outputs, I inputs, G inputs in a group, K groups = ceil(I / G); the last group of a row may be shorter.
The native kernels are tested against this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

QWEIGHT, SCALES = ".qweight", ".scales"
"""Suffixes of a parameter's name in files."""

BITS = (8, 4)
MIN_GROUP_SIZE, MAX_GROUP_SIZE, GROUP_SIZE_STEP = 16, 1024, 16
LARGEST_ACTIVATION = 127
_NIBBLE_ZERO = 8
_ABSOLUTE = 0x7FFFFFFF


def value_range(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest integer of a weight."""
    # 8 bits leave out -128, so that the negative of every weight is a weight.
    return (-127, 127) if bits == 8 else (-8, 7)


@dataclass(frozen=True, eq=False)
class QuantizedMatrix:
    """A quantised matrix W[o, k] = values[o, k] * scales[o, k // G]. Raises ValueError naming a wrong field.

    qweight: for 8 bits int8 (O, I) in [-127, 127]; for 4 bits uint8 (O, ceil(I / 2)), a value plus 8 in each
    nibble, even k in the low one; if I is odd, the last high nibble is 8
    scales: bfloat16 (O, K), finite, of any sign
    """

    qweight: Tensor
    scales: Tensor
    bits: int
    group_size: int
    in_features: int

    def __post_init__(self) -> None:
        check_format(self.bits, self.group_size)
        qweight, scales = shapes_of(self.out_features, self.in_features, self.bits, self.group_size)
        dtype = torch.int8 if self.bits == 8 else torch.uint8
        _check_tensor("qweight", self.qweight, qweight, dtype)
        _check_tensor("scales", self.scales, scales, torch.bfloat16)

    @classmethod
    def from_values(cls, values: Tensor, scales: Tensor, bits: int, group_size: int) -> QuantizedMatrix:
        """Make a matrix. values: (O, I) integers within value_range(bits); scales: (O, K) bfloat16."""
        low, high = value_range(bits)
        if values.numel() and (int(values.min()) < low or int(values.max()) > high):
            raise ValueError(f"values must be in [{low}, {high}]")
        qweight = values.to(torch.int8) if bits == 8 else pack_nibbles(values)
        return cls(qweight.contiguous(), scales.contiguous(), bits, group_size, values.shape[1])

    @property
    def out_features(self) -> int:
        """O, the number of outputs."""
        return self.qweight.shape[0] if self.qweight.dim() else 0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight: (O, I)."""
        return self.out_features, self.in_features

    @property
    def nbytes(self) -> int:
        """Bytes of integers and scales."""
        return self.qweight.nbytes + self.scales.nbytes

    def to(self, device: str | torch.device) -> QuantizedMatrix:
        """Return the same matrix on a device."""
        return replace(self, qweight=self.qweight.to(device), scales=self.scales.to(device))

    def stored(self, name: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and tensors that a file has for the parameter `name`."""
        yield name + QWEIGHT, self.qweight
        yield name + SCALES, self.scales

    def check_values(self) -> None:
        """Raise ValueError if a tensor holds values that no matrix has. It reads the bytes at most once."""
        if not self.qweight.numel():
            return
        # If a tensor holds NaN, aminmax returns NaN.
        if not bool(torch.isfinite(torch.stack(torch.aminmax(self.scales))).all()):
            raise ValueError("scales hold NaN or infinity")
        if self.bits == 8 and int(self.qweight.min()) < value_range(8)[0]:
            raise ValueError("qweight holds -128, but weights are from -127 to 127")
        if self.bits == 4 and self.in_features % 2 and bool((self.qweight[:, -1] >> 4 != _NIBBLE_ZERO).any()):
            raise ValueError("qweight has a value beyond the last input")

    def values(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the integers (O, I) int8, or those of some rows."""
        qweight = self.qweight[rows]
        return qweight if self.bits == 8 else unpack_nibbles(qweight, self.in_features)

    def dequantize(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the weight (O, I) float32, or some rows of it. Each product is exact."""
        return self.values(rows).float() * expand_scales(self.scales[rows], self.group_size, self.in_features)

    def reference_linear(self, x: Tensor, heads: int = 1) -> Tensor:
        """Return the product (..., O) float32 of x (..., heads * I). Activations are quantised by group.

        heads: the weight is block-diagonal with its rows head by head; each head has I inputs of its own
        Integer sums are exact. Groups are summed from the first to the last; only fused rounding may differ
        between machines. Not differentiable.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("a quantised product has no gradient: train the float weights, or use no_grad")
        if x.shape[-1] != heads * self.in_features or self.out_features % heads:
            raise ValueError(f"x: (..., {heads * self.in_features}) for {heads} heads, got {tuple(x.shape)}")
        rows = x.reshape(-1, heads, self.in_features).float()
        outputs = self.out_features // heads
        parts = [
            self._product(rows[:, head], slice(head * outputs, (head + 1) * outputs)) for head in range(heads)
        ]
        return torch.cat(parts, dim=1).view(*x.shape[:-1], self.out_features)

    def _product(self, x: Tensor, rows: slice) -> Tensor:
        values, scales = self.values(rows).float(), self.scales[rows].float()
        out = torch.zeros(x.shape[0], values.shape[0])
        for group, inputs in enumerate(group_slices(self.in_features, self.group_size)):
            q, scale = quantize_activations(x[:, inputs])
            # |sum| <= 1024 * 127 * 127 < 2^24: float32 holds it and every part of it exactly.
            sums = F.linear(q, values[:, inputs])
            out += sums * (scales[:, group] * scale)
        return out


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return integers in [-127, 127] as float32 (T, n), and their scale (T, 1), for one group x (T, n).

    A row with NaN or infinity gets the scale NaN, so that its result is NaN.
    """
    # As integers, absolute floats keep their order and NaN is above infinity, so amax finds it.
    bits = x.contiguous().view(torch.int32) & _ABSOLUTE
    largest = bits.amax(dim=1, keepdim=True).view(torch.float32)
    limit = torch.full_like(largest, LARGEST_ACTIVATION)
    # Tensor / Tensor rounds once, but number / Tensor is a reciprocal and a product.
    factor, scale = limit / largest, largest / limit
    # A group of zeros has an infinite factor, and 0 times infinity would be NaN.
    factor = torch.where(torch.isfinite(factor) & torch.isfinite(largest), factor, 0)
    q = torch.where(factor > 0, torch.round(x * factor), 0)
    return q, torch.where(torch.isfinite(largest), scale, torch.nan)


def group_slices(in_features: int, group_size: int) -> Iterator[slice]:
    """Yield the inputs of each group, in order."""
    for start in range(0, in_features, group_size):
        yield slice(start, min(start + group_size, in_features))


def expand_scales(scales: Tensor, group_size: int, in_features: int) -> Tensor:
    """Return the scale of each input, (..., I) float32. scales: (..., K)."""
    return scales.float().repeat_interleave(group_size, dim=-1)[..., :in_features]


def shapes_of(
    out_features: int, in_features: int, bits: int, group_size: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the shapes of qweight and of scales."""
    columns = in_features if bits == 8 else (in_features + 1) // 2
    return (out_features, columns), (out_features, -(-in_features // group_size))


def check_format(bits: object, group_size: object) -> None:
    """Raise ValueError that names bits or group_size if no matrix can have it."""
    if type(bits) is not int or bits not in BITS:
        raise ValueError(f"bits must be 8 or 4, got {bits!r:.40}")
    if (
        type(group_size) is not int
        or group_size % GROUP_SIZE_STEP
        or not MIN_GROUP_SIZE <= group_size <= MAX_GROUP_SIZE
    ):
        raise ValueError(
            f"group_size must be a multiple of {GROUP_SIZE_STEP} from {MIN_GROUP_SIZE} to {MAX_GROUP_SIZE},"
            f" got {group_size!r:.40}"
        )


def pack_nibbles(values: Tensor) -> Tensor:
    """Return values (O, I) in [-8, 7] as (O, ceil(I / 2)) uint8."""
    stored = F.pad(values.to(torch.int16) + _NIBBLE_ZERO, (0, values.shape[1] % 2), value=_NIBBLE_ZERO)
    return (stored[:, 0::2] | (stored[:, 1::2] << 4)).to(torch.uint8)


def unpack_nibbles(qweight: Tensor, in_features: int) -> Tensor:
    """Return the values (..., I) int8 of qweight (..., ceil(I / 2)) uint8."""
    pairs = torch.stack((qweight & 15, qweight >> 4), dim=-1).flatten(-2)
    return pairs[..., :in_features].to(torch.int8) - _NIBBLE_ZERO


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, got {tensor.dtype}")
