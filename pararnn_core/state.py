"""Session states: the pool that `forward` updates in place, and the saved copy of one slot.

L layers, N states per channel, D = d channels, K convolution width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.config import ModelConfig
from pararnn_core.devices import on_device, usable_device

PAD_SLOT_ID = -1


class StatePart(NamedTuple):
    """One part of a session's state: `shape` is that of a single slot."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one slot's part."""
        return math.prod(self.shape) * self.dtype.itemsize


def state_parts(config: ModelConfig, activation_dtype: str | None = None) -> tuple[StatePart, ...]:
    """The parts in the order of a snapshot's bytes; float32 before bfloat16, so that every part is aligned.

    cell (L, N, D) float32; last_hidden (d,) float32; conv (L, K-1, D) in the activation dtype, oldest first;
    seen (ceil(V/8),) uint8, bit t % 8 of byte t // 8 set for every token t that was fed.
    """
    layers, d = config.num_hidden_layers, config.hidden_size
    narrow = (activation_dtype or config.activation_dtype_on("cpu")) == "bfloat16"
    return (
        StatePart("cell", (layers, config.cell_type.num_states, d), torch.float32),
        StatePart("last_hidden", (d,), torch.float32),
        StatePart("conv", (layers, config.conv_kernel - 1, d), torch.bfloat16 if narrow else torch.float32),
        StatePart("seen", (math.ceil(config.vocab_size / 8),), torch.uint8),
    )


def mismatch(parts: tuple[StatePart, ...], expected: tuple[StatePart, ...]) -> str:
    """In words, why a state with these parts is not one of the expected ones."""
    found = {part.name: part for part in parts}
    if all(part._replace(dtype=found[part.name].dtype) == found[part.name] for part in expected):
        dtypes = (str(next(p.dtype for p in all_ if p.name == "conv")) for all_ in (parts, expected))
        its, wanted = (dtype.removeprefix("torch.") for dtype in dtypes)
        return f"with activations in {its}, as another device keeps them, and here they are {wanted}"
    return "of a model with other sizes than this one's"


def state_bytes(config: ModelConfig, activation_dtype: str | None = None) -> int:
    """Exact bytes of one session's state, whatever its length; `activation_dtype` defaults to that on CPU."""
    return sum(part.nbytes for part in state_parts(config, activation_dtype))


class StateSnapshot:
    """A saved state of one session: one flat uint8 buffer of `state_bytes(config)` bytes."""

    __slots__ = ("buffer", "parts")

    def __init__(self, parts: tuple[StatePart, ...], buffer: Tensor) -> None:
        size = sum(part.nbytes for part in parts)
        if buffer.dtype != torch.uint8 or tuple(buffer.shape) != (size,):
            raise ValueError(f"buffer must be ({size},) uint8, got {tuple(buffer.shape)} {buffer.dtype}")
        self.parts = parts
        self.buffer = buffer

    @classmethod
    def from_bytes(cls, config: ModelConfig, data: bytes | bytearray | memoryview) -> StateSnapshot:
        """A copy of `data`; ValueError if its length is not that of the config's state."""
        expected = state_bytes(config)
        if len(data) != expected:
            raise ValueError(f"data: a state of this model has {expected} bytes, got {len(data)}")
        return cls(state_parts(config), torch.frombuffer(bytearray(data), dtype=torch.uint8))

    def to_bytes(self) -> bytes:
        """The buffer's bytes."""
        return self.buffer.numpy().tobytes()

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer."""
        return self.buffer.numel()

    def views(self) -> dict[str, Tensor]:
        """The parts by name, sharing the buffer's memory."""
        return _parts_of(self.buffer, self.parts)

    def clone(self) -> StateSnapshot:
        """An independent copy."""
        return StateSnapshot(self.parts, self.buffer.clone())

    def __eq__(self, other: object) -> bool:
        """Bitwise: NaN equals the same NaN, 0.0 differs from -0.0."""
        if not isinstance(other, StateSnapshot):
            return NotImplemented
        return self.parts == other.parts and torch.equal(self.buffer, other.buffer)

    __hash__ = None  # type: ignore[assignment]  # the buffer is mutable


class RecurrentState:
    """The pool: `num_slots` session states at fixed addresses, zero at first.

    cell (L, slots, N, D), last_hidden (slots, d), conv (L, slots, K-1, D), seen (slots, ceil(V/8)).
    One thread at a time. Every method that takes a slot raises ValueError for one outside of the pool.
    """

    def __init__(self, config: ModelConfig, num_slots: int, device: str | torch.device = "cpu") -> None:
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        where = usable_device(device)
        self.parts = state_parts(config, config.activation_dtype_on(where.type))
        self.num_slots = num_slots
        shapes = {part.name: part.shape for part in self.parts}
        dtypes = {part.name: part.dtype for part in self.parts}
        layers = config.num_hidden_layers
        # Tensors made in inference mode could not be updated outside of it.
        with torch.inference_mode(False), where:
            self.cell = torch.zeros(layers, num_slots, *shapes["cell"][1:])
            self.last_hidden = torch.zeros(num_slots, *shapes["last_hidden"])
            self.conv = torch.zeros(layers, num_slots, *shapes["conv"][1:], dtype=dtypes["conv"])
            self.seen = torch.zeros(num_slots, *shapes["seen"], dtype=torch.uint8)
        self._transit = None if where.type == "cpu" else StateTransit(self.parts, self.cell.device)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole pool."""
        return sum(pool.nbytes for pool in self._pools)

    def reset(self, slot: int) -> None:
        """Zeros: the state before any token."""
        for view in self._views(slot):
            view.zero_()

    def poison(self, slot: int) -> None:
        """NaN, and 0xFF in `seen`: whatever reads a freed slot shows."""
        for view in self._views(slot):
            view.fill_(math.nan if view.is_floating_point() else 0xFF)

    def copy(self, src: int, dst: int) -> None:
        """Slot `dst` becomes equal to slot `src`."""
        for source, target in zip(self._views(src), self._views(dst), strict=True):
            target.copy_(source)

    def take(self, other: RecurrentState, slots: Tensor) -> None:
        """slots (M,), on the host, become equal to those of another pool of the same model and device."""
        where = on_device(slots.long(), self.seen.device)
        for dim, mine, its in zip((1, 0, 1, 0), self._pools, other._pools, strict=True):
            mine.index_copy_(dim, where, its.index_select(dim, where))

    def snapshot(self, slot: int) -> StateSnapshot:
        """A copy of the slot, on the host. Waits for the device."""
        views = self._views(slot)
        if self._transit is not None:
            return StateSnapshot(self.parts, self._transit.out(views))
        size = sum(part.nbytes for part in self.parts)
        snapshot = StateSnapshot(self.parts, torch.empty(size, dtype=torch.uint8))
        for source, target in zip(views, snapshot.views().values(), strict=True):
            target.copy_(source)
        return snapshot

    def restore(self, slot: int, snapshot: StateSnapshot) -> None:
        """The slot becomes the snapshot, bit for bit; ValueError if that is of another model or device."""
        if snapshot.parts != self.parts:
            raise ValueError(f"snapshot: {mismatch(snapshot.parts, self.parts)}")
        views = self._views(slot)
        sources = snapshot.views() if self._transit is None else self._transit.into(snapshot.buffer)
        for source, target in zip(sources.values(), views, strict=True):
            target.copy_(source)

    @property
    def _pools(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.cell, self.last_hidden, self.conv, self.seen

    def _views(self, slot: int) -> tuple[Tensor, ...]:
        self._check(slot)
        return self.cell[:, slot], self.last_hidden[slot], self.conv[:, slot], self.seen[slot]

    def _check(self, slot: int) -> None:
        if not 0 <= slot < self.num_slots:
            raise ValueError(f"slot must be in [0, {self.num_slots}), got {slot}")


class StateTransit:
    """One state between a device and the host in one transfer, through memory that the device can reach."""

    def __init__(self, parts: tuple[StatePart, ...], device: torch.device) -> None:
        self._parts = parts
        size = sum(part.nbytes for part in parts)
        with torch.inference_mode(False):
            self._there = torch.empty(size, dtype=torch.uint8, device=device)
            self._here = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def out(self, views: tuple[Tensor, ...]) -> Tensor:
        """The views' bytes, on the host, in memory of their own: what is pinned should stay little."""
        for source, target in zip(views, _parts_of(self._there, self._parts).values(), strict=True):
            target.copy_(source)
        return self._here.copy_(self._there).clone()

    def into(self, buffer: Tensor) -> dict[str, Tensor]:
        """The parts in a buffer of the host, on the device, until the next call."""
        self._there.copy_(self._here.copy_(buffer))
        return _parts_of(self._there, self._parts)


def _parts_of(buffer: Tensor, parts: tuple[StatePart, ...]) -> dict[str, Tensor]:
    """Views of a flat uint8 buffer by the names of the parts that it holds."""
    views, offset = {}, 0
    for part in parts:
        view = buffer[offset : offset + part.nbytes].view(part.dtype)
        views[part.name] = view.view(part.shape)
        offset += part.nbytes
    return views
