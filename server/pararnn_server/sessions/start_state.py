"""Sessions that begin with a state of another origin."""

from __future__ import annotations

from dataclasses import replace

from pararnn_server.sessions.names import place_of, state_name
from pararnn_server.sessions.record import SessionRecord
from pararnn_server.sessions.saved_state import SavedState


def record_from(record: SessionRecord, state: SavedState) -> SessionRecord:
    """Return the record of an empty session as that of one at this state. Its earlier ids are in no log."""
    return replace(
        record,
        turn=state.turn,
        num_tokens=state.num_tokens,
        pending_ids=state.pending_ids,
        log_start=state.num_tokens,
        # A state before any token was computed by no build.
        build=state.build if state.num_tokens else record.build,
        build_changed=state.build_changed and state.num_tokens > 0,
        kept_turns=(state.turn,),
    )


def state_item(session_id: str, state: SavedState) -> dict[str, bytes]:
    """Return the state as an item of a session."""
    name = state_name(state.turn)
    return {name: state.encode(place_of(session_id, name))}
