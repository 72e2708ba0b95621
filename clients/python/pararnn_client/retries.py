"""Retries. A request is repeated only if it certainly had no effect, or if repeating it is harmless."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pararnn_client.errors import ConnectionFailed, PararnnError, StatusError

# The server sends these before it begins the work, so any request may be repeated.
_REFUSED_UNSTARTED = frozenset({429, 503})


@dataclass(frozen=True)
class RetryPolicy:
    """A policy. max_retries: tries after the first; first_wait, longest_wait: seconds. Waits double."""

    max_retries: int = 2
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def wait_before_retry(
        self, retries_done: int, failure: PararnnError, *, repeatable: bool, jitter: float
    ) -> float | None:
        """Return the seconds until the next try, None to stop. jitter: random in [0, 1)."""
        if retries_done >= self.max_retries or not _may_repeat(failure, repeatable):
            return None
        if isinstance(failure, StatusError) and failure.retry_after is not None:
            # A try before that time would only be refused again.
            return failure.retry_after if failure.retry_after <= self.longest_wait else None
        backoff: float = min(self.longest_wait, self.first_wait * 2.0**retries_done)
        # Clients that failed at the same time must not return at the same time.
        return backoff * (0.5 + 0.5 * jitter)


DEFAULT_RETRIES = RetryPolicy()


class Attempts:
    """The tries of one request."""

    def __init__(self, policy: RetryPolicy, *, repeatable: bool) -> None:
        self._policy = policy
        self._repeatable = repeatable
        self._retries = 0

    def wait_after(self, failure: PararnnError) -> float:
        """Return the seconds until the next try. Raises the failure if there are no more tries."""
        wait = self._policy.wait_before_retry(
            self._retries, failure, repeatable=self._repeatable, jitter=random.random()
        )
        if wait is None:
            raise failure
        self._retries += 1
        return wait


def _may_repeat(failure: PararnnError, repeatable: bool) -> bool:
    if isinstance(failure, ConnectionFailed):
        return repeatable or not failure.request_sent
    # The server marks answers that a blind retry would not change, such as a 409.
    if not isinstance(failure, StatusError) or failure.should_retry is False:
        return False
    if failure.status in _REFUSED_UNSTARTED:
        return True
    # The server may have begun the work.
    return repeatable and failure.status in (500, 502, 504)
