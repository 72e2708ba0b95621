"""A session as it is kept: one committed turn, replaced as a whole by the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pararnn_core.config import ModelConfig
from pararnn_core.state import StateSnapshot, state_bytes, state_parts
from pararnn_server.sessions.session import SessionInfo, Tier, TurnInfo

HISTORY_TURNS = 256
LOG_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """Times in seconds since 1970.

    snapshot: the state after all ids of the session but the last len(pending_ids).
    pending_ids: ids sampled or cut from a token by a stop string and not fed yet.
    ttl_seconds: life after the last use; None is for ever.
    history: the last turns, oldest first.
    """

    session_id: str
    owner: str
    model: str
    created_at: float
    last_used_at: float
    ttl_seconds: float | None
    metadata: Mapping[str, str]
    snapshot: StateSnapshot
    pending_ids: tuple[int, ...] = ()
    num_tokens: int = 0
    turn: int = 0
    parent_id: str | None = None
    history: tuple[TurnInfo, ...] = ()

    @property
    def expires_at(self) -> float | None:
        """When the session ends unless it is used before."""
        return None if self.ttl_seconds is None else self.last_used_at + self.ttl_seconds

    def info(self, tier: Tier) -> SessionInfo:
        """What its owner may see of it."""
        return SessionInfo(
            id=self.session_id,
            model=self.model,
            created_at=int(self.created_at),
            last_used_at=int(self.last_used_at),
            num_tokens=self.num_tokens,
            turn=self.turn,
            state_bytes=self.snapshot.nbytes,
            snapshot_bytes=0,
            history_bytes=LOG_BYTES_PER_TOKEN * self.num_tokens,
            tier=tier,
            parent_id=self.parent_id,
            metadata=self.metadata,
            expires_at=None if self.expires_at is None else int(self.expires_at),
        )


def empty_snapshot(config: ModelConfig) -> StateSnapshot:
    """The state before any token."""
    return StateSnapshot(state_parts(config), torch.zeros(state_bytes(config), dtype=torch.uint8))
