"""The feed: events by number, kept within a bound."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pararnn_server.monitor.feed import KEPT_BYTES, KEPT_EVENTS, Feed
from pararnn_server.monitor.session_table import Row


class Table:
    """The rows of a session table, without a store."""

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)

    def rows_of(self, key: str | None) -> list[Row]:
        return [row for row in self.rows if key in (None, row.key)]


def row(name: str, key: str = "") -> Row:
    info: Any = None
    return Row(key, info, json.dumps({"id": name}).encode())


def feed(*rows: Row, key: str | None = None) -> Feed:
    table: Any = Table(*rows)
    return Feed(key, table, "life")


def data_of(event: bytes) -> dict[str, Any]:
    lines = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
    data: dict[str, Any] = json.loads(lines["data"])
    assert lines["event"] == data["type"]
    return data


def test_a_snapshot_has_all_rows_of_its_key_and_no_other() -> None:
    rows = [row(f"s{number}", "ada") for number in range(300)]
    made = feed(*rows, row("other", "bob"), key="ada")
    snapshot = data_of(b"".join(made.snapshot()))
    assert [each["id"] for each in snapshot["sessions"]] == [f"s{number}" for number in range(300)]


def test_a_snapshot_without_a_session_is_valid() -> None:
    assert data_of(b"".join(feed().snapshot()))["sessions"] == []


def test_events_after_a_number_are_those_that_followed() -> None:
    made = feed()
    for number in range(3):
        made.publish({"n": number}, [row("a")])
    after = made.after(1)
    assert after is not None
    assert [(number, data_of(event)["n"]) for number, event in after] == [(2, 1), (3, 2)]
    assert made.after(3) == []
    assert made.after(4) is None


def test_kept_events_are_bounded_in_number() -> None:
    made = feed()
    for _ in range(KEPT_EVENTS + 3):
        made.publish({}, [])
    assert made.after(2) is None
    kept = made.after(3)
    assert kept is not None
    assert len(kept) == KEPT_EVENTS


def test_kept_events_are_bounded_in_bytes() -> None:
    made = feed()
    large = Row("", row("a").info, json.dumps({"id": "x" * (KEPT_BYTES // 3)}).encode())
    for _ in range(8):
        made.publish({}, [large])
    kept = made.after(6)
    assert kept is not None
    assert sum(len(event) for _, event in kept) <= KEPT_BYTES
    assert made.after(4) is None


def test_only_ids_that_the_feed_sent_name_an_event() -> None:
    made = feed()
    made.publish({}, [])
    assert made.number_of("life-1") == 1
    for other in ("", "1", "life-", "life-01", "other-1", "life-1x", "life-\u0661", "life-" + "9" * 99):
        assert made.number_of(other) is None


def test_a_watcher_waits_for_news_and_hears_of_the_end() -> None:
    async def watch() -> tuple[bool, bool, bool]:
        made = feed()
        silent = await made.news(0, 0.01)
        waiting = asyncio.ensure_future(made.news(0, 20))
        await asyncio.sleep(0)
        made.publish({}, [])
        published = await waiting
        ending = asyncio.ensure_future(made.news(1, 20))
        await asyncio.sleep(0)
        made.close()
        return silent, published, await ending

    assert asyncio.run(watch()) == (False, True, True)
