"""States of sessions: pools, parts and snapshots."""

from pararnn_core.state.state import (
    PAD_SLOT_ID,
    SEEN,
    RecurrentState,
    StatePart,
    StateParts,
    StateSnapshot,
    StateTransit,
    parts_bytes,
)

__all__ = [
    "PAD_SLOT_ID",
    "SEEN",
    "RecurrentState",
    "StatePart",
    "StateParts",
    "StateSnapshot",
    "StateTransit",
    "parts_bytes",
]
