"""How much one key may ask for at once and per minute."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pararnn_server.errors import TooManyRequests


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class KeyLimits:
    """max_running: requests under way. per_minute: requests started, in bursts of as many. 0: no limit."""

    def __init__(
        self, max_running: int = 0, per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_running = max_running
        self._per_minute = per_minute
        self._clock = clock
        self._running: defaultdict[str, int] = defaultdict(int)
        self._buckets: dict[str, _Bucket] = {}

    @contextmanager
    def admitted(self, owner: str) -> Iterator[None]:
        """Holds one place of the key's. Raises TooManyRequests."""
        if self._max_running and self._running[owner] >= self._max_running:
            message = f"This key already has {self._max_running} requests under way."
            raise TooManyRequests(message, code="quota")
        self._take(owner)
        self._running[owner] += 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]

    def _take(self, owner: str) -> None:
        if not self._per_minute:
            return
        now, size = self._clock(), float(self._per_minute)
        bucket = self._buckets.setdefault(owner, _Bucket(size, now))
        bucket.tokens = min(size, bucket.tokens + (now - bucket.filled_at) * size / 60.0)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            message = f"This key may start {self._per_minute} requests a minute."
            raise TooManyRequests(message, code="quota", retry_after=(1.0 - bucket.tokens) * 60.0 / size)
        bucket.tokens -= 1.0
