"""Limits of the number of sessions, and of what is kept of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Limits of one key. A limit of all keys together would show each of them the work of others.

    max_sessions: with stored responses. max_bytes: of all rows in the store; 0 is no limit.
    rollback_turns: turns that can be undone. max_snapshots: named ones of one session.
    host_state_bytes: of one key's states that wait in host memory.
    """

    max_sessions: int = 10_000
    max_bytes: int = 0
    rollback_turns: int = 4
    max_snapshots: int = 16
    host_state_bytes: int = 1 << 30
