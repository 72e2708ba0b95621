"""The monitor: one table and one feed a view, which exist while somebody watches."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from pararnn_server.engine.activity import Progress
from pararnn_server.errors import TooManyRequests
from pararnn_server.models.service import Service
from pararnn_server.models.startup import session_policy
from pararnn_server.monitor import figures
from pararnn_server.monitor.feed import Feed
from pararnn_server.monitor.figures import Held
from pararnn_server.monitor.session_table import Changes, Json, SessionTable
from pararnn_server.sessions import overview

IDLE_SECONDS = 30.0
"""The table and feeds are kept for so long after their last use, for a watcher that comes back."""
SLOW_SECONDS = 1.0
"""Time between two readings of what takes longer: what keys hold, and latencies."""

logger = logging.getLogger(__name__)


class Monitor:
    """Watchers of all sessions, for the event loop only. Without watchers it costs nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._view: _View | None = None

    @asynccontextmanager
    async def watching(self, key: str | None) -> AsyncIterator[Feed]:
        """Yield the feed of a key, or of all. Raises TooManyRequests for too many watchers."""
        view = await self._opened()
        feed = view.feed(key)
        most = self._service.settings.max_monitors
        if feed.num_watchers >= most:
            message = f"This key already has {most} streams of /v1/monitor open; close one."
            raise TooManyRequests(message, code="quota")
        feed.num_watchers += 1
        try:
            # What a client has just done is in its snapshot.
            await view.tick()
            yield feed
        finally:
            feed.num_watchers -= 1
            view.used_at = feed.used_at = time.monotonic()

    async def sessions(self) -> tuple[SessionTable, list[Progress]]:
        """Return the table of this moment, and the requests that run."""
        view = await self._opened()
        await view.tick()
        return view.table, view.progress

    async def close(self) -> None:
        """End all streams."""
        if self._view is not None:
            self._view.task.cancel()
            await asyncio.gather(self._view.task, return_exceptions=True)

    async def _opened(self) -> _View:
        if self._view is None or self._view.task.done():
            # A server that loads has no sessions to show.
            self._service.models.get()
            self._view = _View(self._service)
        view = self._view
        view.used_at = time.monotonic()
        # Shielded: the one who asked first may leave while others wait.
        await asyncio.shield(view.loaded)
        return view


class _View:
    """A table with its feeds, from its first use until it is idle or the server drains."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._keys = sorted(service.keys.names)
        self._life = secrets.token_hex(6)
        self._feeds: dict[str | None, Feed] = {}
        self._policy = session_policy(service.settings, len(self._keys))
        self._held = Held({}, self._policy)
        self._slow_at = 0.0
        self._is_failing = False
        self._ticking = asyncio.Lock()
        self.table = SessionTable(service.models.get(), self._keys)
        self.progress: list[Progress] = []
        self.used_at = time.monotonic()
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._run())

    def feed(self, key: str | None) -> Feed:
        """Return the feed of a key, or of all."""
        if key not in self._feeds:
            feed = self._feeds[key] = Feed(key, self.table, self._life)
            feed.figures = self._figures(feed)
        return self._feeds[key]

    async def tick(self) -> None:
        """Collect what has changed, and publish it to every feed that is in use."""
        async with self._ticking:
            changes = await self.table.refresh()
            is_slow = time.monotonic() >= self._slow_at
            if is_slow:
                self._slow_at = time.monotonic() + SLOW_SECONDS
                self._held = Held(await self._ask_memory(), self._policy)
            self.progress = [each for model in self._service.models for each in model.engine.progress()]
            for feed in self._feeds.values():
                self._publish(feed, changes, is_slow=is_slow)

    async def _run(self) -> None:
        try:
            await self._load()
            while not self._is_over:
                await asyncio.sleep(self._service.settings.monitor_interval_seconds)
                await self._tick_quietly()
                self._drop_idle_feeds()
        finally:
            for feed in self._feeds.values():
                feed.close()
            await self.table.close()

    async def _load(self) -> None:
        try:
            self._held = Held(await self._ask_memory(), self._policy)
            await self.table.load()
        except Exception as error:
            self.loaded.set_exception(error)
            raise
        self.loaded.set_result(None)

    @property
    def _is_over(self) -> bool:
        is_watched = any(feed.num_watchers for feed in self._feeds.values())
        return self._service.draining or (not is_watched and time.monotonic() > self.used_at + IDLE_SECONDS)

    async def _tick_quietly(self) -> None:
        try:
            await self.tick()
            self._is_failing = False
        except Exception:
            # A store that fails may come back. It would be logged several times a second otherwise.
            if not self._is_failing:
                logger.exception("the monitor cannot read the session store")
            self._is_failing = True

    def _drop_idle_feeds(self) -> None:
        now = time.monotonic()
        idle = [
            key
            for key, feed in self._feeds.items()
            if not feed.num_watchers and now > feed.used_at + IDLE_SECONDS
        ]
        for key in idle:
            del self._feeds[key]

    async def _ask_memory(self) -> dict[str, overview.KeyMemory]:
        return await self._service.models.get().ask(overview.memory_of_keys, self._keys)

    def _publish(self, feed: Feed, changes: Changes, *, is_slow: bool) -> None:
        before, now = feed.figures, self._figures(feed, is_slow=is_slow)
        changed = {name: value for name, value in now.items() if value != before.get(name)}
        rows = [row for row in changes.rows if feed.key in (None, row.key)]
        removed = [session_id for key, session_id in changes.removed if feed.key in (None, key)]
        feed.figures = now
        changed.pop("time", None)
        if not (changed or rows or removed):
            return
        if "budgets" in changed:
            changed["budgets"] = [one for one in now["budgets"] if one not in before["budgets"]]
        if "steps" in changed:
            changed["steps"] = _new_steps(before["steps"], now["steps"])
        feed.publish({"time": now["time"], "removed": removed, **changed}, rows)

    def _figures(self, feed: Feed, *, is_slow: bool = True) -> Json:
        key, registry = feed.key, self._service.models
        progress = self.progress if key is None else [each for each in self.progress if each.key == key]
        made: Json = {
            "time": round(time.time(), 3),
            "all_keys": key is None,
            "models": figures.models(registry),
            "running": figures.running(progress),
            # A step carries the rows of all keys: only the operator sees how many.
            "steps": figures.recent_steps(registry) if key is None else {},
        }
        if not is_slow:
            return {**feed.figures, **made}
        keys = self._keys if key is None else [key]
        made["budgets"] = figures.budgets(registry, keys, self._held, totals=key is None)
        made["latency"] = figures.latency(registry, key)
        return made


def _new_steps(before: Json, now: Json) -> Json:
    last = {model: steps[-1][0] for model, steps in before.items() if steps}
    new = {model: [step for step in steps if step[0] > last.get(model, 0)] for model, steps in now.items()}
    return {model: steps for model, steps in new.items() if steps}


def monitor_of(request: Request) -> Monitor:
    """Return the monitor of the application that got the request."""
    monitor = request.app.state.monitor
    assert isinstance(monitor, Monitor)
    return monitor
