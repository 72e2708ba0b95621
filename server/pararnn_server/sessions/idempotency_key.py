"""Idempotency keys: a client may send such a write twice, and it happens once."""

from __future__ import annotations

from dataclasses import dataclass

from pararnn_server.errors import BadRequest


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's Idempotency-Key, with the digest of its request."""

    key: str
    digest: str

    def repeats(self, last: IdempotencyKey | None) -> bool:
        """Return True if `last` was this very write. Raises BadRequest for another request with its key."""
        if last is None or last.key != self.key:
            return False
        if last.digest != self.digest:
            message = "This Idempotency-Key was used for another request: take a new one for each."
            raise BadRequest(message, param="Idempotency-Key", code="idempotency_key_reused")
        return True
