"""What a session store must do. It knows no sessions: only versions, owners and named bytes.

A session is a head, which every change replaces, and items by name. Every store passes the same tests.
"""

from __future__ import annotations

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
    """The change was made for another version, a lost lease, an alias in use or a link to nothing."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id


class StoreUnusable(Exception):
    """The store cannot be opened; the message says why and what to do."""


class LeaseHeld(Exception):
    """Another server may write to the session. retry_after: seconds until its lease ends unless renewed."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"leased for another {retry_after:g} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit does to one session.

    base_version: what the store must hold, 0 for a session that must not exist; the next is one more.
    fence: of the lease the change is made under, 0 where there are no leases or nobody can know the session.
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
    """Bytes of the items that a change writes."""
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
    """Rows of one owner, or of all.

    nbytes: heads and items of the sessions, each item whole even where several share its bytes, and what they
        count beside. kept_bytes: with tombstones.
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
    """One thread at a time. Every method raises StoreFailed if the store cannot do its work.

    tier: where its bytes lie.
    lease_seconds: how long a claim lasts unless renewed; None where no other server has the store open.
    """

    @property
    def tier(self) -> Tier:
        """ "host" for memory, "store" for what outlives the process."""

    @property
    def lease_seconds(self) -> float | None:
        """As above."""

    def load(self, session_id: str) -> StoredHead | None:
        """The last commit."""

    def read(self, session_id: str, name: str) -> bytes | None:
        """One item."""

    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        """Items whose names begin so, in order of names."""

    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        """The same without the items: bytes by name."""

    def find_alias(self, alias: str) -> str | None:
        """The session that has this second name."""

    def share(self, session_id: str, prefix: str) -> bool:
        """Prepares one piece of items for links that copy nothing; True if more may be left."""

    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        """Durable on return, with one wait for all. An entry says that this commit did nothing, and why."""

    def delete(self, session_id: str) -> None:
        """Forgets the session, its alias and its tombstone, at the cost of one piece.

        It succeeds on a full disk, and what is written after it finds room.
        """

    def usage(self, owner: str | None = None) -> StoreUsage:
        """Return the usage of one owner, or of all, as measured when it was written."""

    def growth(self, change: Change) -> int:
        """Return by how many bytes this change would raise its owner's usage; below 0 if it frees some."""

    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        """Up to `limit` sessions with an id above `after`, by ascending id."""

    def due(self, now: float, skip: int = 0) -> list[str]:
        """Some sessions whose time has passed, beyond the first `skip`; none when there are none left."""

    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        """Forgets those whose time has passed and that nobody has a lease of, but for their owners.

        Returns the ids of the forgotten ones. An older tombstone of the same id is replaced.
        """

    def expired_owner(self, session_id: str, now: float) -> str | None:
        """Whose the session was, until `forget_at`."""

    def forget_tombstones(self, owner: str, count: int) -> None:
        """Forgets the owner's oldest tombstones."""

    def claim(self, session_id: str) -> int:
        """The right to write, and its fence: higher than any before. Raises LeaseHeld."""

    def renew(self, fences: Mapping[str, int]) -> None:
        """Prolongs claims, by session; one that is lost stays lost."""

    def ask_to_end(self, session_id: str) -> bool:
        """Asks the server that has a claim on the session to end its reply; False if none has."""

    def asked_to_end(self, fences: Mapping[str, int]) -> Mapping[str, bool]:
        """Claims, by session, that this server shall give up.

        True if another server asked for it, so that the reply can be kept; False if the claim is lost or the
        session is gone. A question is answered once.
        """

    def release(self, session_id: str, fence: int) -> None:
        """Gives a claim back; one that is lost is left alone."""

    def purge(self) -> bool:
        """Removes one piece of what was deleted; True if more is left."""

    def idle(self) -> bool:
        """Tidies up one piece at a moment in which nobody waits; True if more is left."""

    def close(self) -> None:
        """Nothing is called after it."""


def items_bytes(sizes: Mapping[str, int]) -> int:
    """Return what items count, by the sizes of their data."""
    return sum(ITEM_BYTES + len(name) + size for name, size in sizes.items())


def named_in(change: Change) -> set[str]:
    """Return the names of all items that a change removes or replaces."""
    return {*change.removes, *change.links, *change.puts, *change.shares}
