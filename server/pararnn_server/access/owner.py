"""Owners: a key, and the collection of its stored rows that is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

Collection = Literal["sessions", "responses", "staging"]
"""staging: logs of imports that no session links to yet."""

# No name of a key has a colon.
_SEPARATOR = ":"


@dataclass(frozen=True, slots=True)
class Owner:
    """One collection of one key. No other owner sees what belongs to it.

    key: name of the API key, "" without keys.
    """

    key: str
    collection: Collection = "sessions"

    @property
    def responses(self) -> Owner:
        """The stored responses of the same key."""
        return Owner(self.key, "responses")

    @property
    def staging(self) -> Owner:
        """The staged imports of the same key."""
        return Owner(self.key, "staging")

    def encode(self) -> str:
        """Return the owner as stores write it. Sessions have the bare name: they came first."""
        return self.key if self.collection == "sessions" else f"{self.key}{_SEPARATOR}{self.collection}"


def decode_owner(text: str) -> Owner:
    """Invert Owner.encode. Raises ValueError for a collection that there is not."""
    key, _, collection = text.partition(_SEPARATOR)
    if not collection:
        return Owner(key)
    if collection not in get_args(Collection):
        raise ValueError(f"no collection is called {collection!r}")
    return Owner(key, cast("Collection", collection))


def kept_owners(key: str) -> tuple[Owner, Owner]:
    """Return the owners whose rows count against the quota of a key."""
    return Owner(key), Owner(key).responses
