"""The screen of `pararnn top`: budgets, latencies, and a table of sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal

from pararnn_client import MonitorView, Session
from pararnn_client.types import Json
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pararnn_server.metrics.units import as_bytes

SortField = Literal["used", "tokens", "state", "turn", "rate", "tier", "owner", "id"]
COUNTS = frozenset({"slots", "queue", "sessions"})
TABLE_HEAD_LINES = 3


def screen(view: MonitorView, sort: SortField, height: int | None = None) -> Group:
    """Return the screen. height: lines of the terminal; without it all sessions are shown."""
    head = [Text(line, no_wrap=True, overflow="ellipsis") for line in _head(view)]
    rows = None if height is None else max(0, height - len(head) - TABLE_HEAD_LINES)
    return Group(*head, _table(view, sort, rows))


def _head(view: MonitorView) -> Iterable[str]:
    tokens, sizes = 0, 0
    tiers: Counter[str] = Counter()
    for session in view.sessions.values():
        tokens += session.num_tokens
        sizes += session.state_bytes
        tiers[session.tier or "-"] += 1
    places = ", ".join(f"{count:,} {tier}" for tier, count in sorted(tiers.items()))
    states, replies = (
        f"{as_bytes(sizes)} of states, {tokens:,} tokens",
        f"{len(view.running)} running replies",
    )
    yield f"{len(view.sessions):,} sessions ({places or 'none'}), {states}, {replies}"
    yield "  ".join(_budget(budget) for budget in _shown_budgets(view))
    for model in view.models:
        latency = view.latency.get(model["id"], {})
        first, between = (
            _quantiles(latency.get(name)) for name in ("time_to_first_token", "inter_token_latency")
        )
        size = as_bytes(model["state_bytes"])
        yield f"{model['id']}: {size} a session; first token {first}; between tokens {between}"


def _shown_budgets(view: MonitorView) -> list[Json]:
    """Return those of the whole server, or, for a key that sees none, its own."""
    whole = [budget for budget in view.budgets if budget["owner"] is None]
    return whole or view.budgets


def _budget(budget: Json) -> str:
    shown: Callable[[Any], str] = (
        (lambda count: f"{count:,.0f}") if budget["name"] in COUNTS else (lambda size: as_bytes(int(size)))
    )
    limit = "" if budget["limit"] is None else f"/{shown(budget['limit'])}"
    return f"{budget['name'].replace('_', ' ')} {shown(budget['used'])}{limit}"


def _quantiles(found: Json | None) -> str:
    if not found or found["p50"] is None:
        return "-"
    return f"p50 {found['p50'] * 1000:.3g} ms, p99 {found['p99'] * 1000:.3g} ms"


def _table(view: MonitorView, sort: SortField, rows: int | None) -> Table:
    running = {reply["session_id"]: reply for reply in view.running}
    has_owners = any(session.raw.get("owner") for session in view.sessions.values())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("session", no_wrap=True)
    if has_owners:
        table.add_column("owner", no_wrap=True)
    for name in ("tokens", "state", "turn", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    for session in _sorted(view.sessions.values(), sort, running)[:rows]:
        reply = running.get(session.id)
        table.add_row(
            session.id,
            *([str(session.raw.get("owner", ""))] if has_owners else []),
            f"{_tokens(session, reply):,}",
            as_bytes(session.state_bytes),
            str(session.turn),
            f"{reply['tokens_per_second']:.1f}" if reply else "",
            session.tier or "",
            f"{datetime.fromtimestamp(session.last_used_at):%Y-%m-%d %H:%M:%S}",
        )
    return table


def _sorted(sessions: Iterable[Session], sort: SortField, running: dict[str, Json]) -> list[Session]:
    """Return the sessions in order: the largest first, but texts from A to Z."""
    keys: dict[str, Callable[[Session], Any]] = {
        "used": lambda session: session.last_used_at,
        "tokens": lambda session: _tokens(session, running.get(session.id)),
        "state": lambda session: session.state_bytes,
        "turn": lambda session: session.turn,
        "rate": lambda session: running.get(session.id, {}).get("tokens_per_second", 0.0),
        "tier": lambda session: session.tier or "",
        "owner": lambda session: session.raw.get("owner", ""),
        "id": lambda session: session.id,
    }
    # By id first: equal sessions keep their places from one screen to the next.
    by_id = sorted(sessions, key=keys["id"])
    return sorted(by_id, key=keys[sort], reverse=sort not in ("tier", "owner", "id"))


def _tokens(session: Session, reply: Json | None) -> int:
    """Return the tokens of a session with those of its running reply."""
    if reply is None:
        return session.num_tokens
    return int(session.num_tokens + reply["prompt_tokens_read"] + reply["completion_tokens"])
