"""Options of the engine thread."""

from __future__ import annotations

from dataclasses import dataclass

from pararnn_server.access.shares import Shares


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of one engine. Raises ValueError.

    max_num_seqs: state slots, hence replies that run at once.
    num_owners: keys that share the slots and the queue.
    max_num_batched_tokens: tokens of one step, at least max_num_seqs.
    max_decode_slowdown: longest step in which others generate while prompts are read, as a multiple of the
        one that follows; at least 1. More gives prompts throughput, less gives replies a steady pace.
    max_queue: replies that may wait for a slot beyond those that have one.
    max_queue_bytes: of the token ids of prompts that wait or run.
    queue_timeout: seconds a request may wait for a slot.
    state_cache_bytes_per_key: of stored states and their ids that one key may hold; 0: none are stored.
    state_cache_interval: tokens of a long prompt between two stored states.
    poison_freed_slots: fill a freed slot with NaN, for tests.
    """

    max_num_seqs: int = 64
    num_owners: int = 1
    max_num_batched_tokens: int = 512
    max_decode_slowdown: float = 1.5
    max_queue: int = 1024
    max_queue_bytes: int = 64 << 20
    queue_timeout: float = 60.0
    state_cache_bytes_per_key: int = 0
    state_cache_interval: int = 1024
    poison_freed_slots: bool = False

    @property
    def max_slots_per_key(self) -> int:
        """Slots that one key may hold at once."""
        return Shares(self.max_num_seqs, self.num_owners).most

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1:
            raise ValueError(f"max_num_seqs must be at least 1, got {self.max_num_seqs}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens must be at least max_num_seqs ({self.max_num_seqs}),"
                f" got {self.max_num_batched_tokens}"
            )
        if not self.max_decode_slowdown >= 1.0:
            raise ValueError(f"max_decode_slowdown must be at least 1, got {self.max_decode_slowdown}")
        if self.max_queue < 0:
            raise ValueError(f"max_queue must be at least 0, got {self.max_queue}")
        if self.state_cache_bytes_per_key < 0:
            raise ValueError(
                f"state_cache_bytes_per_key must be at least 0, got {self.state_cache_bytes_per_key}"
            )
        if self.state_cache_interval < 1:
            raise ValueError(f"state_cache_interval must be at least 1, got {self.state_cache_interval}")
        if self.queue_timeout <= 0:
            raise ValueError(f"queue_timeout must be positive, got {self.queue_timeout}")
