"""Prefix reuse: cached states that prompts resume from, and states of prompts that are cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pararnn_core.state import StateSnapshot
from pararnn_server.engine.executor import Executor
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.scheduler import Prefill
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.state_cache.prefix_tree import pack_ids
from pararnn_server.state_cache.state_cache import StateCache

# To stop before the last word of a prompt costs a step of its own: too dear for a short one.
MIN_SPLIT_TOKENS = 128
# The states within one prompt leave room for other conversations of its key.
MARK_SHARE = 4


class PrefillStart(NamedTuple):
    """The start of a prefill.

    snapshot: the state to load, None before any token. num_tokens: ids of the feed that it covers.
    marks: positions at which chunks must end.
    """

    snapshot: StateSnapshot | None
    num_tokens: int
    marks: Sequence[int]


class PrefixReuse:
    """Look-ups and additions to the state cache, for the engine thread only.

    interval: ids between two states that a long prompt leaves.
    """

    def __init__(
        self, executor: Executor, cache: StateCache, interval: int, state_bytes: int, metrics: Metrics
    ) -> None:
        self._executor = executor
        self._cache = cache
        self._interval = interval
        self._max_marks = max(1, cache.owner_bytes // (MARK_SHARE * state_bytes))
        self._metrics = metrics

    def arrive(self, running: Running) -> None:
        """Count what is cached as soon as a request arrives.

        The count then does not depend on how long it waits, nor on how much of a promised state is read by
        now: both would show a key what others do.
        """
        if self._looks_up(running):
            packed_ids = pack_ids(running.feed_token_ids)
            # Before anything else can evict them.
            for place in running.request.cache_use.breakpoints:
                self._cache.pin(running.partition, packed_ids, *place)
            running.num_cached = self._cache.longest(running.partition, packed_ids)
        places = running.request.cache_use.breakpoints
        if places and self._cache.owner_bytes and not running.is_continued:
            running.num_written = max(0, places[-1].num_tokens - running.num_cached)

    def begin(self, running: Running) -> PrefillStart:
        """Find the state that a request starts from. A continued request resumes from its own."""
        turn = running.turn
        resumed = turn or running.request.start
        own = None if resumed is None else resumed.snapshot
        # The state of a continued request depends on ids that are not in this feed.
        if not self._cache.owner_bytes or running.is_continued or running.request.cache_use.is_off:
            return PrefillStart(own, 0, ())
        running.packed_token_ids = pack_ids(running.feed_token_ids)
        running.marks = self._marks(running)
        start = PrefillStart(own, 0, running.marks)
        if not self._looks_up(running):
            return start
        self._metrics.prefix_cache_queries.inc(len(running.feed_token_ids))
        hit = self._cache.find(running.partition, running.packed_token_ids)
        if hit is None:
            return start
        self._metrics.prefix_cache_hits.inc(hit.num_tokens)
        self._metrics.prompt_tokens_cached.inc(hit.num_tokens)
        marks = [mark for mark in running.marks if mark > hit.num_tokens]
        return PrefillStart(hit.snapshot, hit.num_tokens, marks)

    def keep_prompts(self, prefills: Sequence[Prefill], requests: Mapping[str, Running]) -> None:
        """Cache the states after the chunks of a step, before the next step changes them."""
        for prefill in prefills:
            running, end = requests[prefill.request_id], prefill.start + prefill.num_tokens
            # Without packed ids no state of the request is kept.
            if not prefill.num_tokens or not running.packed_token_ids:
                continue
            cache_use = running.request.cache_use
            places = {place.num_tokens: place for place in cache_use.breakpoints}
            # The promised state that the request counted on when it arrived.
            if end == running.num_cached:
                take = sound(partial(self._executor.snapshot, prefill.slot))
                self._cache.fill(running.partition, running.packed_token_ids, end, take)
            elif end in places or (not cache_use.is_explicit and (prefill.is_last or end in running.marks)):
                self._keep(running, running.packed_token_ids, end, prefill.slot)
            if end in places:
                self._cache.pin(running.partition, running.packed_token_ids, *places[end])

    def keep_reply(self, running: Running, choice: Choice) -> None:
        """Cache the state at the end of a reply, while the choice has its slot. A session keeps its own."""
        if running.request.cache_use.is_explicit:
            return
        if running.turn is None and choice.num_fed and running.packed_token_ids:
            ids = running.packed_token_ids + pack_ids(choice.reply.ids[: choice.num_fed])
            self._keep(running, ids, len(running.feed_token_ids) + choice.num_fed, choice.slot)

    def _looks_up(self, running: Running) -> bool:
        if running.is_continued or running.reads_every_token or running.request.cache_use.is_off:
            return False
        return bool(self._cache.owner_bytes)

    def _keep(self, running: Running, ids: bytes, num_tokens: int, slot: int) -> None:
        self._cache.put(running.partition, ids, num_tokens, sound(lambda: self._executor.snapshot(slot)))

    def _marks(self, running: Running) -> Sequence[int]:
        """Return the positions of states to cache, and of the promised one that the request counts on."""
        start, length = running.num_cached, len(running.feed_token_ids)
        step = self._interval
        while length // step > self._max_marks:
            step *= 2
        # Multiples of the step, so that prompts with a common beginning keep the same states.
        cache_use = running.request.cache_use
        marks = [] if cache_use.is_explicit else [*range(start // step * step + step, length, step)]
        # The state may be promised only: the prefill that passes it fills it.
        if 0 < start < length:
            marks = [start, *marks]
        marks += [place.num_tokens for place in cache_use.breakpoints if start < place.num_tokens < length]
        stable = running.request.stable_tokens
        if length - start >= MIN_SPLIT_TOKENS and start < stable < length and not cache_use.is_explicit:
            marks.append(stable)
        return sorted(set(marks))


def sound(take: Callable[[], StateSnapshot]) -> Callable[[], StateSnapshot | None]:
    """Wrap `take` so that it gives None for a state with NaN or infinity."""

    # A request that found such a state would fail too.
    def checked() -> StateSnapshot | None:
        snapshot = take()
        return snapshot if snapshot.is_finite() else None

    return checked
