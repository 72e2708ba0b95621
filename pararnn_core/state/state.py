"""States of sessions: the pool that `step` updates in place, and snapshots, which are plain bytes.

A model lists the parts of its states. Shapes and bytes of pools and snapshots follow from the parts.
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
"""Part of every model's states, because the sampler reads it: (ceil(V/8),) uint8. Bit t % 8 of byte t // 8 is
set for every token t that was fed."""


class StatePart(NamedTuple):
    """One part of a session's state. shape: that of a single slot.

    per_layer: the first dimension is the layer; in a pool the dimension of slots follows it
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
        """Return the shape of the tensor with this part of all slots."""
        if self.per_layer:
            return (self.shape[0], num_slots, *self.shape[1:])
        return (num_slots, *self.shape)


StateParts = tuple[StatePart, ...]
"""The parts in the order of a snapshot's bytes. Wider types come first, so that every part is aligned."""


def parts_bytes(parts: StateParts) -> int:
    """Return the exact bytes of one session's state, which do not depend on its length."""
    return sum(part.nbytes for part in parts)


def mismatch(parts: StateParts, expected: StateParts) -> str:
    """Return the reason why a state with these parts does not fit the expected parts."""
    found = {part.name: part for part in parts}
    # With equal names and shapes only the type differs, which depends on the device.
    if [part._replace(dtype=torch.uint8) for part in parts] == [
        part._replace(dtype=torch.uint8) for part in expected
    ]:
        wanted = next(part for part in expected if part.dtype != found[part.name].dtype)
        theirs, ours = _dtype_name(found[wanted.name]), _dtype_name(wanted)
        return f"with activations in {theirs}, as another device keeps them, and here they are {ours}"
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
        """Make a snapshot from a copy of `data`. Raises ValueError if its length is not that of the parts."""
        expected = parts_bytes(parts)
        if len(data) != expected:
            raise ValueError(f"data: a state of this model has {expected} bytes, got {len(data)}")
        # frombuffer shares memory; a bytearray is a copy, and may be written.
        return cls(parts, torch.frombuffer(bytearray(data), dtype=torch.uint8))

    @classmethod
    def empty(cls, parts: StateParts) -> StateSnapshot:
        """Return the state before any token."""
        return cls(parts, torch.zeros(parts_bytes(parts), dtype=torch.uint8))

    def to_bytes(self) -> bytes:
        """Return the buffer's bytes."""
        return self.buffer.numpy().tobytes()

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer."""
        return self.buffer.numel()

    def views(self) -> dict[str, Tensor]:
        """Return the parts by name; they share the buffer's memory."""
        return _parts_of(self.buffer, self.parts)

    def is_finite(self) -> bool:
        """Return False if the state holds NaN or infinity."""
        # NaN and infinity of any layer reach the parts behind all layers, so only those are checked.
        views = self.views()
        ends = (views[part.name] for part in self.parts if not part.per_layer)
        return all(bool(torch.isfinite(end).all()) for end in ends if end.is_floating_point())

    def clone(self) -> StateSnapshot:
        """Return an independent copy."""
        return StateSnapshot(self.parts, self.buffer.clone())

    def __eq__(self, other: object) -> bool:
        """Compare bits: NaN equals the same NaN, 0.0 differs from -0.0."""
        if not isinstance(other, StateSnapshot):
            return NotImplemented
        return self.parts == other.parts and torch.equal(self.buffer, other.buffer)

    __hash__ = None  # type: ignore[assignment]  # the buffer is mutable


class RecurrentState:
    """A pool of `num_slots` session states at fixed addresses, initially zero.

    state[name] is the tensor of a part: (L, slots, ...) if it is per layer, else (slots, ...).
    Only one thread may use it at a time. Methods raise ValueError for a slot outside of the pool.
    """

    def __init__(self, parts: StateParts, num_slots: int, device: str | torch.device = "cpu") -> None:
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        where = usable_device(device)
        self.parts = parts
        self.num_slots = num_slots
        # Tensors made in inference mode cannot be updated outside of it.
        with torch.inference_mode(False), where:
            self._tensors = {
                part.name: torch.zeros(part.pool_shape(num_slots), dtype=part.dtype) for part in parts
            }
        self.tensors = tuple(self._tensors.values())
        """Tensors in the order of the parts, as native operations take them."""
        self._transit = None if where.type == "cpu" else StateTransit(parts, self.device)

    def __getitem__(self, name: str) -> Tensor:
        """Return the tensor of a part, with all slots."""
        return self._tensors[name]

    @property
    def device(self) -> torch.device:
        """The device of all parts."""
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
        """Set the slot to zeros, the state before any token."""
        for view in self._views(slot):
            view.zero_()

    def poison(self, slot: int) -> None:
        """Fill the slot with NaN, and with 0xFF in integers, so that a read of a freed slot is noticed."""
        for view in self._views(slot):
            view.fill_(math.nan if view.is_floating_point() else 0xFF)

    def copy(self, src: int, dst: int) -> None:
        """Copy slot `src` to slot `dst`."""
        for source, target in zip(self._views(src), self._views(dst), strict=True):
            target.copy_(source)

    def take(self, other: RecurrentState, slots: Tensor) -> None:
        """Copy slots (M,), given on the host, from another pool of the same model and device."""
        where = on_device(slots.long(), self.device)
        for part, target, source in zip(self.parts, self.tensors, other.tensors, strict=True):
            dim = int(part.per_layer)
            target.index_copy_(dim, where, source.index_select(dim, where))

    def snapshot(self, slot: int) -> StateSnapshot:
        """Return a copy of the slot on the host. Waits for the device."""
        views = self._views(slot)
        if self._transit is not None:
            return StateSnapshot(self.parts, self._transit.out(views))
        snapshot = StateSnapshot(self.parts, torch.empty(parts_bytes(self.parts), dtype=torch.uint8))
        for source, target in zip(views, snapshot.views().values(), strict=True):
            target.copy_(source)
        return snapshot

    def restore(self, slot: int, snapshot: StateSnapshot) -> None:
        """Copy a snapshot to the slot. Raises ValueError if it is of another model or kind of device."""
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
    """Transfer of a state between a device and the host in one piece, through pinned memory."""

    def __init__(self, parts: StateParts, device: torch.device) -> None:
        self._parts = parts
        size = parts_bytes(parts)
        with torch.inference_mode(False):
            # Parts of a slot are far apart on the device. Gathered there, they need one transfer.
            self._there = torch.empty(size, dtype=torch.uint8, device=device)
            self._here = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def out(self, views: Sequence[Tensor]) -> Tensor:
        """Return the bytes of the views on the host, in new memory."""
        # Pinned memory is scarce, so the result is copied out of it.
        for source, target in zip(views, _parts_of(self._there, self._parts).values(), strict=True):
            target.copy_(source)
        return self._here.copy_(self._there).clone()

    def into(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts of a host buffer as tensors on the device, which are valid until the next call."""
        self._there.copy_(self._here.copy_(buffer))
        return _parts_of(self._there, self._parts)


def _parts_of(buffer: Tensor, parts: StateParts) -> dict[str, Tensor]:
    """Return views of a flat uint8 buffer by the names of its parts."""
    views, offset = {}, 0
    for part in parts:
        view = buffer[offset : offset + part.nbytes].view(part.dtype)
        views[part.name] = view.view(part.shape)
        offset += part.nbytes
    return views
