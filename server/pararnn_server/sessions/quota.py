"""The bytes that one key may keep in the store: all rows of its sessions, responses and tombstones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pararnn_server.access.owner import Owner, decode_owner, kept_owners
from pararnn_server.errors import ServerError, TooManyRequests
from pararnn_server.sessions.stores.store import TOMBSTONE_BYTES, Change, SessionStore, StoreUsage

# A turn or response reserves so much beside its states: log, numbers, recorded reply, document.
BESIDE_STATES = 64 << 10


@dataclass(slots=True)
class _Reservation:
    """Room for a request. nbytes: the most that it may add. spent: what it has added so far."""

    key: str
    nbytes: int
    spent: int = 0

    @property
    def left(self) -> int:
        return max(0, self.nbytes - self.spent)


class StoreQuota:
    """Refuses a write while the rows of its key, with what others of its requests reserve, reach the limit.

    So a key ends at most one request above its limit, in whatever order its requests run. What frees bytes is
    always taken. Where servers share a store, each counts only its own reservations.
    max_bytes: of one key; 0 is no limit.
    """

    def __init__(self, store: SessionStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._reserved: dict[str, _Reservation] = {}

    def usage(self, key: str) -> StoreUsage:
        """Return the usage of the owner's key: sessions and stored responses."""
        return sum((self._store.usage(owner.encode()) for owner in kept_owners(key)), StoreUsage(0, 0))

    def reserve(self, session_id: str, owner: Owner, nbytes: int) -> bool:
        """Take room for a request that writes later; False if it has some already. Raises TooManyRequests."""
        if not self._max_bytes or session_id in self._reserved:
            return False
        self._check(owner.key, None)
        self._reserved[session_id] = _Reservation(owner.key, nbytes)
        return True

    @contextmanager
    def reserving(self, session_id: str, owner: Owner, nbytes: int) -> Iterator[bool]:
        """Reserve for the block, as `reserve` does, and give the room back if the block fails."""
        reserved = self.reserve(session_id, owner, nbytes)
        try:
            yield reserved
        except BaseException:
            if reserved:
                self.release(session_id)
            raise

    def release(self, session_id: str) -> None:
        """Give room back; nothing happens if none was taken."""
        self._reserved.pop(session_id, None)

    @contextmanager
    def ending(self, session_id: str) -> Iterator[None]:
        """Give room back after the last write of a request, however it ends."""
        try:
            yield
        finally:
            self.release(session_id)

    def admit(self, change: Change) -> None:
        """Count a change that is about to be made. Raises TooManyRequests."""
        if not self._max_bytes:
            return
        growth, own = self._store.growth(change), self._reserved.get(change.session_id)
        # What was reserved was checked when the request began.
        if growth > 0 and (own is None or own.spent + growth > own.nbytes):
            self._check(decode_owner(change.owner).key, own)
        if own is not None:
            own.spent += growth

    def refusal(self, change: Change) -> ServerError | None:
        """Return the error of `admit`."""
        try:
            self.admit(change)
        except ServerError as error:
            return error
        return None

    def _check(self, key: str, own: _Reservation | None) -> None:
        """Raise TooManyRequests if the key is at its limit."""
        # Old tombstones go before anything is refused for them.
        usage = self.usage(key)
        taken = sum(one.left for one in self._reserved.values() if one.key == key and one is not own)
        over = usage.kept_bytes + taken - (0 if own is None else own.spent) - self._max_bytes
        if over < 0:
            return
        if over >= TOMBSTONE_BYTES * usage.tombstones:
            message = f"this key may keep {self._max_bytes} bytes in the store; delete sessions or responses"
            raise TooManyRequests(message, code="quota")
        count = over // TOMBSTONE_BYTES + 1
        for owner in kept_owners(key):
            some = min(count, self._store.usage(owner.encode()).tombstones)
            if some:
                self._store.forget_tombstones(owner.encode(), some)
            count -= some
