"""Bytes of request bodies in memory: of all keys together, and of each."""

from __future__ import annotations

from pararnn_server.access.shares import Shares
from pararnn_server.errors import TooManyRequests


class BodyBudget:
    """total, per_key: bytes of bodies from the first byte read until the prompt in it is encoded.

    Half of an equal share of the total is kept for each of num_keys, so that no others can take all of it.
    """

    def __init__(self, total: int, per_key: int, num_keys: int = 1) -> None:
        self._shares = Shares(total, num_keys)
        self._per_key = per_key

    @property
    def held_bytes(self) -> int:
        """Bytes of all keys that are in memory."""
        return self._shares.total - self._shares.num_free

    def check(self, owner: str, num_bytes: int) -> None:
        """Raise TooManyRequests where so many more do not fit."""
        if self._shares.held.get(owner, 0) + num_bytes > self._per_key:
            message = f"This key may send {self._per_key} bytes of requests at once; send fewer."
            raise TooManyRequests(message, code="quota")
        if num_bytes > self._shares.room(owner):
            message = "The server reads as many bytes of requests as it may at once; try again."
            raise TooManyRequests(message, code="bodies_full")

    def hold(self, owner: str, num_bytes: int) -> None:
        """Count more bytes. Raises TooManyRequests."""
        self.check(owner, num_bytes)
        self._shares.take(owner, num_bytes)

    def free(self, owner: str, num_bytes: int) -> None:
        """They are not in memory any more."""
        self._shares.give(owner, num_bytes)


class BodyLease:
    """The part of the budget that one request holds."""

    def __init__(self, budget: BodyBudget, owner: str) -> None:
        self._budget = budget
        self._owner = owner
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that it counts now."""
        return self._held

    def expect(self, num_bytes: int) -> None:
        """Raise TooManyRequests for a body whose announced size does not fit."""
        self._budget.check(self._owner, num_bytes)

    def add(self, num_bytes: int) -> None:
        """Count more bytes. Raises TooManyRequests."""
        self._budget.hold(self._owner, num_bytes)
        self._held += num_bytes

    def close(self) -> None:
        """Gives all of it back; may be called again."""
        # An answer closes the lease early, and the middleware closes it again at the end.
        held, self._held = self._held, 0
        if held:
            self._budget.free(self._owner, held)
