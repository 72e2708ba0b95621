"""The part of a store that only one server can open."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from pararnn_server.sessions.stores.store import SessionStore


class SingleServerStore(SessionStore):
    """A store without leases: no other server writes to its sessions."""

    lease_seconds: float | None = None

    @override
    def claim(self, session_id: str) -> int:
        # A fence is compared only where servers take leases from one another.
        return 0

    @override
    def renew(self, fences: Mapping[str, int]) -> None:
        """Do nothing: no lease runs out."""

    @override
    def ask_to_end(self, session_id: str) -> bool:
        return False

    @override
    def asked_to_end(self, fences: Mapping[str, int]) -> Mapping[str, bool]:
        return {}

    @override
    def release(self, session_id: str, fence: int) -> None:
        """Do nothing: no lease is held."""
