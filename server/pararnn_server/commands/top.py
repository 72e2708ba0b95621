"""`pararnn top`: sessions and memory of a running server, live in a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer
from pararnn_client import (
    ConnectionFailed,
    MonitorEvent,
    MonitorView,
    PararnnClient,
    PararnnError,
    ServerFailed,
)
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pararnn_server.commands.failure import one_line_errors
from pararnn_server.commands.options import option
from pararnn_server.commands.sessions import HERE, Key, Url
from pararnn_server.commands.top_screen import SortField, screen

RETRY_SECONDS = 1.0
FULL_COLUMNS = 140
# A silent server sends a ping every ten seconds.
TIMEOUT_SECONDS = 60.0


@one_line_errors(PararnnError)
def top(
    url: Url = HERE,
    api_key: Key = None,
    sort: Annotated[SortField, option("Column that orders the sessions.")] = "used",
    once: Annotated[bool, option("Print one table with all sessions and end.", "--once")] = False,
    as_json: Annotated[bool, option("Print the events as JSON, one a line.", "--json", env="JSON")] = False,
) -> None:
    """Show the sessions of a server with their memory, live: the key's own, or all with the admin key.

    Ctrl-C ends it.
    """
    with PararnnClient(url, api_key=api_key, timeout=TIMEOUT_SECONDS) as client:
        if as_json:
            _print_events(client, once=once)
        elif once:
            _print_table(client, sort)
        else:
            _show(client, sort)


def _print_events(client: PararnnClient, *, once: bool) -> None:
    for event in client.monitor():
        typer.echo(json.dumps(event.raw))
        if once:
            return


def _print_table(client: PararnnClient, sort: SortField) -> None:
    view = MonitorView()
    view.apply(next(iter(client.monitor())))
    # A narrow terminal, or none, must not cut the ids.
    _console(max(Console().width, FULL_COLUMNS)).print(screen(view, sort), soft_wrap=True)


def _show(client: PararnnClient, sort: SortField) -> None:
    console, view = _console(), MonitorView()
    # A server that cannot be reached at the start is an error, before the screen is cleared.
    events = _events(client)
    view.apply(next(events))
    with Live(screen(view, sort, console.height), console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        for event in _events_for_ever(client, events, live):
            view.apply(event)
            live.update(screen(view, sort, console.height), refresh=True)


def _events(client: PararnnClient) -> Iterator[MonitorEvent]:
    with client.monitor() as stream:
        yield from stream


def _events_for_ever(
    client: PararnnClient, events: Iterator[MonitorEvent], live: Live
) -> Iterator[MonitorEvent]:
    """Yield the events, and those of a server that returns. Each connection begins with a snapshot."""
    while True:
        with suppress(ConnectionFailed, ServerFailed):
            yield from events
        live.update(Text(f"The server at {client.transport.http.base_url} is away."), refresh=True)
        time.sleep(RETRY_SECONDS)
        events = _events(client)


def _console(width: int | None = None) -> Console:
    # Names and ids are text, never markup.
    return Console(markup=False, highlight=False, emoji=False, width=width)
