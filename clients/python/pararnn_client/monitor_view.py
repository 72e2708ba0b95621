"""The present state of a server, made of the events of its monitor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pararnn_client.types import Json, MonitorEvent, Session


class MonitorView:
    """Sessions and figures after all events so far. Begin with an event that is a snapshot.

    sessions: by id. running: replies that have a slot. latency, models: as the last event had them.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.sessions: dict[str, Session] = {}
        self.running: Sequence[Json] = ()
        self.models: Sequence[Json] = ()
        self.latency: Json = {}
        self._budgets: dict[tuple[Any, ...], Json] = {}

    @property
    def budgets(self) -> list[Json]:
        """Budgets with used and limit."""
        return list(self._budgets.values())

    def apply(self, event: MonitorEvent) -> None:
        """Take in one event."""
        if event.is_snapshot:
            self.sessions.clear()
            self._budgets.clear()
        self.time = event.time
        self.sessions.update((session.id, session) for session in event.sessions)
        for session_id in event.removed:
            self.sessions.pop(session_id, None)
        for budget in event.raw.get("budgets", ()):
            self._budgets[budget["name"], budget["owner"], budget["model"]] = budget
        self.running = event.raw.get("running", self.running)
        self.models = event.raw.get("models", self.models)
        self.latency = event.raw.get("latency", self.latency)
