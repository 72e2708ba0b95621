"""Tiers: where the state of a session is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tier = Literal["device", "host", "store"]
TIERS: tuple[Tier, ...] = ("device", "host", "store")


@dataclass(frozen=True, slots=True)
class TierTotal:
    """sessions: those whose state is nearest there.

    state_bytes: bytes of the states there. A store counts all its rows, with those of states that are nearer.
    """

    sessions: int
    state_bytes: int
