"""Figures of the engine's present work: steps, running requests, latencies of each key."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pararnn_server.engine.running import Running
from pararnn_server.metrics.recent_quantiles import Quantiles, RecentTimes, quantiles

KEPT_STEPS = 256

Phase = Literal["prefill", "decode"]


class Step(NamedTuple):
    """One step of the model. number: counts all steps. seconds: until its outputs were published."""

    number: int
    prompt_rows: int
    decode_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A request that has a slot.

    prompt_tokens: ids that it feeds; prompt_tokens_read: those that are fed.
    tokens_per_second: of its replies since the end of the prompt.
    """

    request_id: str
    key: str
    session_id: str | None
    phase: Phase
    prompt_tokens: int
    prompt_tokens_read: int
    completion_tokens: int
    tokens_per_second: float


class Activity:
    """The last steps, and recent latencies by key. The engine's thread writes, any thread reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[Step] = deque(maxlen=KEPT_STEPS)
        self._first: dict[str, RecentTimes] = {}
        self._between: dict[str, RecentTimes] = {}
        self.num_steps = 0

    def stepped(self, prompt_rows: int, decode_rows: int, seconds: float) -> None:
        """Note a step."""
        self.num_steps += 1
        self._steps.append(Step(self.num_steps, prompt_rows, decode_rows, seconds))

    def first_token(self, key: str, seconds: float, now: float) -> None:
        """Note the time from the arrival of a request to its first token."""
        self._times(self._first, key).observe(seconds, now)

    def next_token(self, key: str, seconds: float, now: float) -> None:
        """Note the time between two tokens of a reply."""
        self._times(self._between, key).observe(seconds, now)

    def steps_after(self, number: int) -> list[Step]:
        """Return the kept steps with a higher number."""
        # A copy first: the engine's thread appends meanwhile.
        return [step for step in self._steps.copy() if step.number > number]

    def time_to_first_token(self, key: str | None) -> Quantiles:
        """Return the quantiles of one key, or of all."""
        return quantiles(_of(self._first, key))

    def inter_token_latency(self, key: str | None) -> Quantiles:
        """Return the quantiles of one key, or of all."""
        return quantiles(_of(self._between, key))

    def _times(self, series: dict[str, RecentTimes], key: str) -> RecentTimes:
        times = series.get(key)
        if times is None:
            times = series[key] = RecentTimes(self._clock)
        return times


def progress_of(running: Running, num_read: int | None, now: float) -> Progress:
    """Return the progress of a request that has a slot. num_read: ids that it has fed, if known."""
    prompt_tokens = len(running.feed_token_ids)
    is_decoding = running.prefilled_at is not None
    read = prompt_tokens if is_decoding or num_read is None else num_read
    # A copy first: the engine's thread ends replies meanwhile.
    completion_tokens = sum(choice.num_sampled for choice in list(running.choices.values()))
    seconds = now - running.prefilled_at if running.prefilled_at is not None else 0.0
    return Progress(
        running.id,
        running.request.owner,
        running.request.session_id,
        "decode" if is_decoding else "prefill",
        prompt_tokens,
        read,
        completion_tokens,
        round(completion_tokens / seconds, 1) if seconds > 0 else 0.0,
    )


def _of(series: dict[str, RecentTimes], key: str | None) -> list[RecentTimes]:
    if key is None:
        return list(series.values())
    return [series[key]] if key in series else []
