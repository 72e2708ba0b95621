"""Limits of one key: requests at once, requests and tokens per minute."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pararnn_server.errors import TooManyRequests


@dataclass(slots=True)
class _Bucket:
    """Fills with `size` a minute, up to as many. reserved: taken, and given back where it is not used."""

    size: float
    level: float
    filled_at: float
    reserved: float = 0.0

    def fill(self, now: float) -> None:
        self.level = min(self.size, self.level + (now - self.filled_at) * self.size / 60.0)
        self.filled_at = now

    def seconds_until(self, level: float) -> float:
        """Return the longest wait, without what may be given back meanwhile."""
        return max(0.0, level - self.level - self.reserved) * 60.0 / self.size


class TokenAccount:
    """Tokens that one request takes of its key's, held in full while it is under way."""

    def __init__(self, bucket: Callable[[], _Bucket | None]) -> None:
        self._bucket = bucket
        self._reserved = 0

    def check(self) -> None:
        """Raise TooManyRequests once the key has none left."""
        bucket = self._bucket()
        if bucket is not None and bucket.level <= 0.0:
            message = f"This key may take {bucket.size:.0f} tokens a minute, requests under way in full."
            raise TooManyRequests(message, code="quota", retry_after=bucket.seconds_until(1.0))

    def reserve(self, num_tokens: int) -> None:
        """The most that the request may take. Raises TooManyRequests."""
        bucket = self._bucket()
        if bucket is None or not num_tokens:
            return
        # Only an empty bucket refuses: a request larger than the rest may overdraw it once.
        self.check()
        bucket.level -= num_tokens
        bucket.reserved += num_tokens
        self._reserved += num_tokens

    def settle(self, num_used: int) -> None:
        """Give back what was not used; a second call changes nothing."""
        bucket, reserved = self._bucket(), self._reserved
        if bucket is not None and reserved:
            self._reserved = 0
            bucket.reserved -= reserved
            # The bucket has filled meanwhile: given back in full it could hold more than a minute.
            bucket.level = min(bucket.size, bucket.level + reserved - num_used)


class KeyLimits:
    """max_running: requests under way. per_minute: requests started, in bursts of as many. 0: no limit.

    tokens_per_minute: of prompts and replies. Prompt and max_tokens of every choice count until the request
        ends. It may overdraw; the next ones wait until that is paid.
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
        self._requests: dict[tuple[str, bool], _Bucket] = {}
        self._tokens: dict[str, _Bucket] = {}

    @contextmanager
    def admitted(
        self, owner: str, *, takes_tokens: bool = True, ends_work: bool = False
    ) -> Iterator[TokenAccount]:
        """Hold one place of the key's. Raises TooManyRequests.

        ends_work: it passes where the key has all its requests under way, and such calls have a rate of their
            own, so that nothing that a key has started need run to its end.
        """
        if self._max_running and not ends_work and self._running[owner] >= self._max_running:
            message = f"This key already has {self._max_running} requests under way."
            raise TooManyRequests(message, code="quota")
        # A function, because the bucket must be filled up to the moment of each use.
        account = TokenAccount(lambda: self._token_bucket(owner))
        if takes_tokens:
            account.check()
        self._take_request(owner, ends_work)
        self._running[owner] += not ends_work
        try:
            yield account
        finally:
            # A request that failed before its answer settled has taken nothing.
            account.settle(0)
            self._running[owner] -= not ends_work
            if not self._running[owner]:
                del self._running[owner]

    def _token_bucket(self, owner: str) -> _Bucket | None:
        if not self._tokens_per_minute:
            return None
        return self._filled(self._tokens.setdefault(owner, self._new(self._tokens_per_minute)))

    def _take_request(self, owner: str, ends_work: bool) -> None:
        if not self._per_minute:
            return
        bucket = self._filled(self._requests.setdefault((owner, ends_work), self._new(self._per_minute)))
        if bucket.level < 1.0:
            message = f"This key may start {self._per_minute} requests a minute."
            raise TooManyRequests(message, code="quota", retry_after=bucket.seconds_until(1.0))
        bucket.level -= 1.0

    def _new(self, size: int) -> _Bucket:
        return _Bucket(size, size, self._clock())

    def _filled(self, bucket: _Bucket) -> _Bucket:
        bucket.fill(self._clock())
        return bucket
