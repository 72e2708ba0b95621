"""The contract of session stores. A store knows versions, owners and named bytes.

A session is a head, which every change replaces, and items by name. Every store passes the same tests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pararnn_server.metrics.tiers import Tier

# Items of at least so many bytes are linked to, smaller ones copied.
LINKED_BYTES = 16 << 10
# A session, an item and a tombstone as they count beside their bytes: columns, indices, an alias.
SESSION_BYTES = 1024
ITEM_BYTES = 64
TOMBSTONE_BYTES = 256
# The oldest tombstones of an owner make room for new ones.
MAX_TOMBSTONES = 10_000
# Most bytes, and most items, that one piece of cleaning or sharing touches, beyond its first item.
PIECE_BYTES = 1 << 20
PIECE_ITEMS = 256


class StaleWrite(Exception):
    """A change for another version, under a lost lease, with an alias in use or with a link to nothing."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id


class StoreUnusable(Exception):
    """A store that cannot be opened; the message says why and what to do."""


class LeaseHeld(Exception):
    """A session to which another server may write.

    retry_after: seconds until its lease ends unless renewed.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"leased for another {retry_after:g} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one session within a commit.

    base_version: the version that the store must hold, 0 for a new session. The change makes it one more.
    fence: number of the lease, 0 where there are no leases or nobody else can know the session.
    removes come before links, links before puts and shares.
    expires_at: seconds since 1970, None for never.
    shares: puts that other sessions may link to.
    links: new items by name, each with the session and the name of the item whose bytes it has.
    alias: a second name of the session, which ends with it; no two sessions have the same. None leaves it.
    """

    session_id: str
    owner: str
    base_version: int
    head: bytes
    expires_at: float | None = None
    puts: Mapping[str, bytes] = field(default_factory=dict)
    removes: Sequence[str] = ()
    fence: int = 0
    shares: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    alias: str | None = None


def put_bytes(change: Change) -> int:
    """Return the bytes of the items that a change writes."""
    return sum(len(data) for items in (change.puts, change.shares) for data in items.values())


Commit = Sequence[Change]
"""Changes that are made together or not at all."""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A session without its items."""

    session_id: str
    owner: str
    version: int
    head: bytes
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Counts and bytes of the rows of one owner, or of all.

    nbytes: heads and items of the sessions, and what rows cost beside. An item counts whole in each session
        that shares its bytes. kept_bytes: with tombstones.
    """

    sessions: int
    nbytes: int
    tombstones: int = 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of all rows."""
        return self.nbytes + TOMBSTONE_BYTES * self.tombstones

    def __add__(self, other: StoreUsage) -> StoreUsage:
        return StoreUsage(
            self.sessions + other.sessions, self.nbytes + other.nbytes, self.tombstones + other.tombstones
        )


class SessionStore(Protocol):
    """A store, used by one thread at a time. Every method raises StoreFailed if it cannot do its work.

    tier: "host" for memory, "store" for what outlives the process.
    lease_seconds: how long a claim lasts unless renewed; None where no other server has the store open.
    """

    tier: Tier
    lease_seconds: float | None

    @abstractmethod
    def load(self, session_id: str) -> StoredHead | None:
        """Return the last commit of a session."""

    @abstractmethod
    def read(self, session_id: str, name: str) -> bytes | None:
        """Return one item."""

    @abstractmethod
    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        """Return the items whose names have this prefix, in order of names."""

    @abstractmethod
    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        """Return the sizes of the items whose names have this prefix, in order of names."""

    @abstractmethod
    def find_alias(self, alias: str) -> str | None:
        """Return the session that has this alias."""

    @abstractmethod
    def share(self, session_id: str, prefix: str) -> bool:
        """Prepare one piece of items for links that copy nothing. Return True if more may be left."""

    @abstractmethod
    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        """Make the commits durable, with one wait for all. Return the error of each that changed nothing."""

    @abstractmethod
    def delete(self, session_id: str) -> None:
        """Forget the session, its alias and its tombstone, at the cost of one piece.

        A full disk is no error: later writes find the room that this frees.
        """

    @abstractmethod
    def usage(self, owner: str | None = None) -> StoreUsage:
        """Return the usage of one owner, or of all, as measured when it was written."""

    @abstractmethod
    def growth(self, change: Change) -> int:
        """Return by how many bytes this change would raise its owner's usage; below 0 if it frees some."""

    @abstractmethod
    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        """Return up to `limit` sessions with an id above `after`, by ascending id."""

    @abstractmethod
    def due(self, now: float, skip: int = 0) -> list[str]:
        """Return some expired sessions beyond the first `skip`, and none only when none are left."""

    @abstractmethod
    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        """Replace expired sessions without a lease by tombstones, and return their ids.

        An older tombstone of the same id is replaced.
        """

    @abstractmethod
    def expired_owner(self, session_id: str, now: float) -> str | None:
        """Return the owner of an expired session, until `forget_at`."""

    @abstractmethod
    def forget_tombstones(self, owner: str, count: int) -> None:
        """Remove the owner's oldest tombstones."""

    @abstractmethod
    def claim(self, session_id: str) -> int:
        """Take the lease of a session and return its fence, higher than any before. Raises LeaseHeld."""

    @abstractmethod
    def renew(self, fences: Mapping[str, int]) -> None:
        """Prolong leases, by session; a lost one stays lost."""

    @abstractmethod
    def ask_to_end(self, session_id: str) -> bool:
        """Ask the server that has the lease to end its reply. Return False if none has it."""

    @abstractmethod
    def asked_to_end(self, fences: Mapping[str, int]) -> Mapping[str, bool]:
        """Return the leases, by session, that this server shall give up.

        True: another server asked for it, so the reply can be committed. False: the lease is lost or the
        session is gone. Each request is returned once.
        """

    @abstractmethod
    def release(self, session_id: str, fence: int) -> None:
        """Give a lease back; a lost one is left alone."""

    @abstractmethod
    def purge(self) -> bool:
        """Remove one piece of deleted data. Return True if more is left."""

    @abstractmethod
    def idle(self) -> bool:
        """Tidy up one piece while nobody waits. Return True if more is left."""

    @abstractmethod
    def close(self) -> None:
        """Close the store. No method is called afterwards."""


def items_bytes(sizes: Mapping[str, int]) -> int:
    """Return the counted bytes of items, by the sizes of their data."""
    return sum(ITEM_BYTES + len(name) + size for name, size in sizes.items())


def named_in(change: Change) -> set[str]:
    """Return the names of all items that a change removes or replaces."""
    return {*change.removes, *change.links, *change.puts, *change.shares}
