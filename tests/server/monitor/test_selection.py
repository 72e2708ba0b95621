"""Sorting, filtering and paging of the operator's list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.monitor.selection import Selection, select
from pararnn_server.monitor.session_table import Row
from pararnn_server.sessions.session import SessionInfo

ALL = Selection("id", "asc", None, None, "", (), "", 50)


def row(name: str, key: str = "ada", **fields: Any) -> Row:
    values: dict[str, Any] = {
        "id": name,
        "model": "tiny",
        "num_tokens": 1,
        "turn": 0,
        "state_bytes": 8,
        "snapshot_bytes": 0,
        "history_bytes": 0,
        "tier": "store",
        "parent_id": None,
        "metadata": {},
        "created_at": 0.0,
        "last_used_at": 0.0,
        "expires_at": None,
    }
    names = SessionInfo.__dataclass_fields__
    return Row(key, SessionInfo(**{n: v for n, v in (values | fields).items() if n in names}), b"{}")


def ids(rows: list[Row], rates: dict[str, float] | None = None, **wanted: Any) -> list[str]:
    return [each.info.id for each in select(rows, rates or {}, replace(ALL, **wanted)).rows]


def test_rows_are_sorted_and_equal_ones_have_a_constant_order() -> None:
    rows = [row("c", num_tokens=2), row("a", num_tokens=1), row("b", num_tokens=2)]
    assert ids(rows, sort="num_tokens", order="desc") == ids(rows[::-1], sort="num_tokens", order="desc")
    assert ids(rows, sort="num_tokens")[0] == "a"


def test_the_rate_sorts_too() -> None:
    rows = [row("a"), row("b"), row("c")]
    rates = {"b": 3.0, "c": 9.0}
    assert ids(rows, rates, sort="tokens_per_second", order="desc") == ["c", "b", "a"]


def test_filters_leave_only_what_matches_all() -> None:
    rows = [
        row("a", metadata={"k": "v", "n": "1"}),
        row("b", "bob", metadata={"k": "v"}),
        row("c", tier="host"),
    ]
    assert ids(rows, owner="bob") == ["b"]
    assert ids(rows, tier="host") == ["c"]
    assert ids(rows, metadata=("k=v",)) == ["a", "b"]
    assert ids(rows, metadata=("k=v", "n=1")) == ["a"]
    assert ids(rows, metadata=("k=",)) == []


def test_a_search_reads_ids_owners_and_metadata_in_any_case() -> None:
    rows = [row("sess_1", metadata={"Title": "A Café"}), row("sess_2", "bob")]
    assert ids(rows, search="CAFÉ") == ["sess_1"]
    assert ids(rows, search="title") == ["sess_1"]
    assert ids(rows, search="BOB") == ["sess_2"]
    assert ids(rows, search="sess") == ["sess_1", "sess_2"]


def test_pages_together_are_the_whole_list() -> None:
    rows = [row(f"s{number:02}") for number in range(23)]
    seen: list[str] = []
    after, more = "", True
    while more:
        page = select(rows, {}, replace(ALL, limit=5, after=after))
        seen += [each.info.id for each in page.rows]
        assert page.num_matches == 23
        more, after = page.has_more, seen[-1]
    assert seen == sorted(each.info.id for each in rows)


@pytest.mark.parametrize("wrong", [{"after": "gone"}, {"metadata": ("x",)}])
def test_a_selection_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        select([row("a")], {}, replace(ALL, **wrong))
