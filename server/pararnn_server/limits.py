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
    """Fills with `size` a minute, up to as many; what was not known before may be owed."""

    size: float
    level: float
    filled_at: float

    def fill(self, now: float) -> None:
        self.level = min(self.size, self.level + (now - self.filled_at) * self.size / 60.0)
        self.filled_at = now

    def seconds_until(self, level: float) -> float:
        return max(0.0, level - self.level) * 60.0 / self.size


class KeyLimits:
    """max_running: requests under way. per_minute: requests started, in bursts of as many. 0: no limit.

    tokens_per_minute: of prompts and replies. How many a request takes is known when it ends, so that one may
        overdraw; the next waits until that is paid.
    """

    def __init__(
        self,
        max_running: int = 0,
        per_minute: int = 0,
        tokens_per_minute: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_running = max_running
        self._per_minute = per_minute
        self._tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._running: defaultdict[str, int] = defaultdict(int)
        self._requests: dict[str, _Bucket] = {}
        self._tokens: dict[str, _Bucket] = {}

    @contextmanager
    def admitted(self, owner: str) -> Iterator[None]:
        """Holds one place of the key's. Raises TooManyRequests."""
        if self._max_running and self._running[owner] >= self._max_running:
            message = f"This key already has {self._max_running} requests under way."
            raise TooManyRequests(message, code="quota")
        self._check_tokens(owner)
        self._take_request(owner)
        self._running[owner] += 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]

    def charge(self, owner: str, num_tokens: int) -> None:
        """Tokens that a request has taken."""
        if self._tokens_per_minute and num_tokens:
            self._bucket(self._tokens, owner, self._tokens_per_minute).level -= num_tokens

    def _check_tokens(self, owner: str) -> None:
        if not self._tokens_per_minute:
            return
        bucket = self._bucket(self._tokens, owner, self._tokens_per_minute)
        if bucket.level <= 0.0:
            message = f"This key may take {self._tokens_per_minute} tokens a minute."
            raise TooManyRequests(message, code="quota", retry_after=bucket.seconds_until(1.0))

    def _take_request(self, owner: str) -> None:
        if not self._per_minute:
            return
        bucket = self._bucket(self._requests, owner, self._per_minute)
        if bucket.level < 1.0:
            message = f"This key may start {self._per_minute} requests a minute."
            raise TooManyRequests(message, code="quota", retry_after=bucket.seconds_until(1.0))
        bucket.level -= 1.0

    def _bucket(self, buckets: dict[str, _Bucket], owner: str, size: int) -> _Bucket:
        now = self._clock()
        bucket = buckets.setdefault(owner, _Bucket(size, size, now))
        bucket.fill(now)
        return bucket
