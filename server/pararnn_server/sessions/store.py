"""What a session store must do. It knows no sessions: only versions, owners and named bytes.

A session is a head, which every change replaces, and items by name. Every store passes the same tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pararnn_server.sessions.session import Tier


class StaleWrite(Exception):
    """The session is not at the version the change was made for, or its lease went to another server."""


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
    removes come before puts. nbytes: of the session's states, snapshots and log, as totals count them.
    expires_at: seconds since 1970, None for never.
    """

    session_id: str
    owner: str
    base_version: int
    head: bytes
    nbytes: int
    expires_at: float | None = None
    puts: Mapping[str, bytes] = field(default_factory=dict)
    removes: Sequence[str] = ()
    fence: int = 0


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
    """nbytes: as the changes said."""

    sessions: int
    nbytes: int


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

    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        """Durable on return, with one wait for all. An entry says that this commit did nothing, and why."""

    def delete(self, session_id: str) -> None:
        """Forgets the session, its tombstone too."""

    def usage(self, owner: str | None = None) -> StoreUsage:
        """Of one owner, or of all."""

    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        """Up to `limit` sessions with an id above `after`, by ascending id."""

    def due(self, now: float) -> list[str]:
        """Some sessions whose time has passed; none when there are none left."""

    def expire(self, session_id: str, now: float, forget_at: float) -> bool:
        """Forgets a session whose time has passed and that nobody has a lease of, but for whose it was."""

    def expired_owner(self, session_id: str, now: float) -> str | None:
        """Whose the session was, until `forget_at`."""

    def claim(self, session_id: str) -> int:
        """The right to write, and its fence: higher than any before. Raises LeaseHeld."""

    def renew(self, fences: Mapping[str, int]) -> None:
        """Prolongs claims, by session; one that is lost stays lost."""

    def release(self, session_id: str, fence: int) -> None:
        """Gives a claim back; one that is lost is left alone."""

    def idle(self) -> None:
        """A moment in which nobody waits: what can be tidied up."""

    def close(self) -> None:
        """Nothing is called after it."""
