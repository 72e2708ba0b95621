"""Names of a session's items in the store; names of one kind sort as their numbers do."""

from __future__ import annotations

STATES = "state/"
LOG = "log/"
TURNS = "turn/"
REPLY = "reply"


def state_name(turn: int) -> str:
    """The state after a turn."""
    return f"{STATES}{turn:012d}"


def log_name(start: int) -> str:
    """Ids of the session from position `start` on."""
    return f"{LOG}{start:012d}"


def turn_name(turn: int) -> str:
    """Numbers of a turn."""
    return f"{TURNS}{turn:012d}"


def snapshot_prefix(name: str) -> str:
    """A named snapshot's own state, log and turns stand behind it, under the names above."""
    return f"named/{name}/"


def place_of(session_id: str, name: str) -> str:
    """Where an item belongs, as its checksum knows."""
    return f"{session_id}/{name}"


def number_in(name: str) -> int:
    """Of a state, a piece of the log or a turn."""
    return int(name.rpartition("/")[2])
