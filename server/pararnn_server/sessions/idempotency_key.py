"""A write that a client may send twice and that happens once."""

from __future__ import annotations

from dataclasses import dataclass

from pararnn_server.errors import BadRequest


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """key: the Idempotency-Key. digest: of the request, so that a key is not taken for another request's."""

    key: str
    digest: str

    def repeats(self, last: IdempotencyKey | None) -> bool:
        """Whether `last` was this very write. Raises BadRequest for another request with its key."""
        if last is None or last.key != self.key:
            return False
        if last.digest != self.digest:
            message = "This Idempotency-Key was used for another request: take a new one for each."
            raise BadRequest(message, param="Idempotency-Key", code="idempotency_key_reused")
        return True
