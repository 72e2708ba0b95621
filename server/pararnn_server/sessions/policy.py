"""How many sessions there may be, and how much is kept of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """max_sessions: of all owners. max_per_key, max_bytes_per_key: with stored responses; 0 is no limit.

    rollback_turns: turns that can be undone. max_snapshots: named ones of one session.
    host_state_bytes: of states that wait in host memory.
    """

    max_sessions: int = 10_000
    max_per_key: int = 0
    max_bytes_per_key: int = 0
    rollback_turns: int = 4
    max_snapshots: int = 16
    host_state_bytes: int = 1 << 30
