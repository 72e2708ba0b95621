"""Names of a session's items in the store; names of one kind sort as their numbers do."""

from __future__ import annotations

STATES = "state/"
LOG = "log/"
TURNS = "turn/"
REPLY = "reply"


def state_name(turn: int) -> str:
    """Return the name of the state after a turn."""
    return f"{STATES}{turn:012d}"


def log_name(start: int) -> str:
    """Return the name of the ids from position `start` on."""
    return f"{LOG}{start:012d}"


def turn_name(turn: int) -> str:
    """Return the name of a turn's numbers."""
    return f"{TURNS}{turn:012d}"


def snapshot_prefix(name: str) -> str:
    """Return the prefix of a named snapshot's own state, log and turns."""
    return f"named/{name}/"


def place_of(session_id: str, name: str) -> str:
    """Return the place of an item, which its checksum covers."""
    return f"{session_id}/{name}"


def number_in(name: str) -> int:
    """Return the number in the name of a state, a piece of the log or a turn."""
    return int(name.rpartition("/")[2])
