"""Sorting, filtering and paging of the sessions of all keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pararnn_server.errors import BadRequest
from pararnn_server.metrics.tiers import Tier
from pararnn_server.monitor.session_table import Row

SortField = Literal[
    "id",
    "owner",
    "created_at",
    "last_used_at",
    "num_tokens",
    "turn",
    "state_bytes",
    "snapshot_bytes",
    "history_bytes",
    "tier",
    "tokens_per_second",
]
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Sessions that are wanted, and their order. None, "" and an empty list leave all in.

    search: part of the id, the owner, or a name or value of the metadata, in any case.
    metadata: "name=value" of entries that all must be there. after: id of the last one of the page before.
    """

    sort: SortField
    order: Order
    owner: str | None
    tier: Tier | None
    search: str
    metadata: Sequence[str]
    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page. num_matches: rows that the filters leave, on all pages."""

    rows: list[Row]
    has_more: bool
    num_matches: int


def select(rows: Sequence[Row], rates: Mapping[str, float], selection: Selection) -> Page:
    """Return the page. rates: tokens per second by session. Raises BadRequest."""
    entries = [_entry(text) for text in selection.metadata]
    search = selection.search.casefold()
    found = [row for row in rows if _matches(row, selection, entries, search)]
    # By id first: rows that are equal in the wanted order have a constant one of their own.
    found.sort(key=lambda row: row.info.id)
    found.sort(key=_sort_key(selection.sort, rates), reverse=selection.order == "desc")
    start = _start(found, selection.after)
    end = start + selection.limit
    return Page(found[start:end], end < len(found), len(found))


def _entry(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise BadRequest("metadata: write name=value.", param="metadata")
    return name, value


def _matches(row: Row, selection: Selection, entries: Sequence[tuple[str, str]], search: str) -> bool:
    info = row.info
    if selection.owner not in (None, row.key) or selection.tier not in (None, info.tier):
        return False
    if any(info.metadata.get(name) != value for name, value in entries):
        return False
    texts = (info.id, row.key, *info.metadata, *info.metadata.values()) if search else ()
    return not search or any(search in text.casefold() for text in texts)


def _sort_key(field: SortField, rates: Mapping[str, float]) -> Callable[[Row], Any]:
    if field == "owner":
        return lambda row: row.key
    if field == "tokens_per_second":
        return lambda row: rates.get(row.info.id, 0.0)
    return lambda row: getattr(row.info, field)


def _start(rows: Sequence[Row], after: str) -> int:
    if not after:
        return 0
    for place, row in enumerate(rows):
        if row.info.id == after:
            return place + 1
    raise BadRequest("after: no such session is left in this list; start again without it.", param="after")
