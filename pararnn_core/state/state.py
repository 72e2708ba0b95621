"""States of sessions: the pool that `step` updates in place, and snapshots, which are plain bytes.

A model says which parts its states have; everything here follows from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.ops.devices import on_device, usable_device

PAD_SLOT_ID = -1
SEEN = "seen"
"""The part that every model's states have, because the sampler reads it: (ceil(V/8),) uint8. Bit t % 8 of
byte t // 8 is set for every token t that was fed."""


class StatePart(NamedTuple):
    """One part of a session's state. `shape` is that of a single slot.

    per_layer: the first dimension is the layer; in a pool the slots come after it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    per_layer: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of one slot's part."""
        return math.prod(self.shape) * self.dtype.itemsize

    def pool_shape(self, num_slots: int) -> tuple[int, ...]:
        """The shape of the tensor that has the part of all slots."""
        if self.per_layer:
            return (self.shape[0], num_slots, *self.shape[1:])
        return (num_slots, *self.shape)


StateParts = tuple[StatePart, ...]
"""In the order of a snapshot's bytes: wider types before narrower ones, so that every part is aligned."""


def parts_bytes(parts: StateParts) -> int:
    """Exact bytes of one session's state, whatever its length."""
    return sum(part.nbytes for part in parts)


def mismatch(parts: StateParts, expected: StateParts) -> str:
    """Say why a state with these parts is none with the expected ones."""
    found = {part.name: part for part in parts}
    if [part._replace(dtype=torch.uint8) for part in parts] == [
        part._replace(dtype=torch.uint8) for part in expected
    ]:
        wanted = next(part for part in expected if part.dtype != found[part.name].dtype)
        its = _dtype_name(found[wanted.name])
        ours = _dtype_name(wanted)
        return f"with activations in {its}, as another device keeps them, and here they are {ours}"
    return "of a model with other sizes than this one's"


def _dtype_name(part: StatePart) -> str:
    return str(part.dtype).removeprefix("torch.")


class StateSnapshot:
    """A saved state of one session: one flat uint8 buffer of `parts_bytes(parts)` bytes."""

    __slots__ = ("buffer", "parts")

    def __init__(self, parts: StateParts, buffer: Tensor) -> None:
        size = parts_bytes(parts)
        if buffer.dtype != torch.uint8 or tuple(buffer.shape) != (size,):
            raise ValueError(f"buffer must be ({size},) uint8, got {tuple(buffer.shape)} {buffer.dtype}")
        self.parts = parts
        self.buffer = buffer

    @classmethod
    def from_bytes(cls, parts: StateParts, data: bytes | bytearray | memoryview) -> StateSnapshot:
        """A copy of `data`; ValueError if its length is not that of these parts."""
        expected = parts_bytes(parts)
        if len(data) != expected:
            raise ValueError(f"data: a state of this model has {expected} bytes, got {len(data)}")
        return cls(parts, torch.frombuffer(bytearray(data), dtype=torch.uint8))

    @classmethod
    def empty(cls, parts: StateParts) -> StateSnapshot:
        """The state before any token."""
        return cls(parts, torch.zeros(parts_bytes(parts), dtype=torch.uint8))

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

    def is_finite(self) -> bool:
        """Return False if NaN or infinity reached a part that all layers lead to."""
        views = self.views()
        ends = (views[part.name] for part in self.parts if not part.per_layer)
        return all(bool(torch.isfinite(end).all()) for end in ends if end.is_floating_point())

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

    state[name] is the tensor of a part: (L, slots, ...) of one per layer, (slots, ...) of the others.
    One thread at a time. Every method that takes a slot raises ValueError for one outside of the pool.
    """

    def __init__(self, parts: StateParts, num_slots: int, device: str | torch.device = "cpu") -> None:
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        where = usable_device(device)
        self.parts = parts
        self.num_slots = num_slots
        # Tensors made in inference mode could not be updated outside of it.
        with torch.inference_mode(False), where:
            self._tensors = {
                part.name: torch.zeros(part.pool_shape(num_slots), dtype=part.dtype) for part in parts
            }
        self.tensors = tuple(self._tensors.values())
        """In the order of the parts, as native operations take them."""
        self._transit = None if where.type == "cpu" else StateTransit(parts, self.device)

    def __getitem__(self, name: str) -> Tensor:
        """The part of all slots."""
        return self._tensors[name]

    @property
    def device(self) -> torch.device:
        """Where all parts are."""
        return self.tensors[0].device

    @property
    def seen(self) -> Tensor:
        """Bitmaps of fed tokens, which the sampler reads: (slots, ceil(V/8)), see SEEN."""
        return self._tensors[SEEN]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole pool."""
        return sum(pool.nbytes for pool in self.tensors)

    def reset(self, slot: int) -> None:
        """Zeros: the state before any token."""
        for view in self._views(slot):
            view.zero_()

    def poison(self, slot: int) -> None:
        """NaN, and 0xFF in integers: whatever reads a freed slot shows."""
        for view in self._views(slot):
            view.fill_(math.nan if view.is_floating_point() else 0xFF)

    def copy(self, src: int, dst: int) -> None:
        """Slot `dst` becomes equal to slot `src`."""
        for source, target in zip(self._views(src), self._views(dst), strict=True):
            target.copy_(source)

    def take(self, other: RecurrentState, slots: Tensor) -> None:
        """slots (M,), on the host, become equal to those of another pool of the same model and device."""
        where = on_device(slots.long(), self.device)
        for part, mine, its in zip(self.parts, self.tensors, other.tensors, strict=True):
            dim = int(part.per_layer)
            mine.index_copy_(dim, where, its.index_select(dim, where))

    def snapshot(self, slot: int) -> StateSnapshot:
        """A copy of the slot, on the host. Waits for the device."""
        views = self._views(slot)
        if self._transit is not None:
            return StateSnapshot(self.parts, self._transit.out(views))
        snapshot = StateSnapshot(self.parts, torch.empty(parts_bytes(self.parts), dtype=torch.uint8))
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

    def check_parts(self, expected: StateParts) -> None:
        """Raise ValueError if these are not the parts of the pool."""
        if self.parts != expected:
            raise ValueError(f"state: {mismatch(self.parts, expected)}")

    def _views(self, slot: int) -> tuple[Tensor, ...]:
        if not 0 <= slot < self.num_slots:
            raise ValueError(f"slot must be in [0, {self.num_slots}), got {slot}")
        pools = zip(self.parts, self.tensors, strict=True)
        return tuple(pool[:, slot] if part.per_layer else pool[slot] for part, pool in pools)


class StateTransit:
    """One state between a device and the host in one transfer, through memory that the device can reach."""

    def __init__(self, parts: StateParts, device: torch.device) -> None:
        self._parts = parts
        size = parts_bytes(parts)
        with torch.inference_mode(False):
            self._there = torch.empty(size, dtype=torch.uint8, device=device)
            self._here = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def out(self, views: Sequence[Tensor]) -> Tensor:
        """The views' bytes, on the host, in memory of their own: what is pinned should stay little."""
        for source, target in zip(views, _parts_of(self._there, self._parts).values(), strict=True):
            target.copy_(source)
        return self._here.copy_(self._there).clone()

    def into(self, buffer: Tensor) -> dict[str, Tensor]:
        """The parts in a buffer of the host, on the device, until the next call."""
        self._there.copy_(self._here.copy_(buffer))
        return _parts_of(self._there, self._parts)


def _parts_of(buffer: Tensor, parts: StateParts) -> dict[str, Tensor]:
    """Views of a flat uint8 buffer by the names of the parts that it holds."""
    views, offset = {}, 0
    for part in parts:
        view = buffer[offset : offset + part.nbytes].view(part.dtype)
        views[part.name] = view.view(part.shape)
        offset += part.nbytes
    return views
