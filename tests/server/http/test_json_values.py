import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.http.json_values import CONTAINER_WEIGHT, holds_more_values

TEXTS = st.text(st.sampled_from('a"\\,[]{}:\n\u00e9'), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def count(value: Any) -> int:
    """Commas, and 16 for each list and object."""
    if isinstance(value, dict):
        return CONTAINER_WEIGHT + max(0, len(value) - 1) + sum(map(count, value.values()))
    if isinstance(value, list):
        return CONTAINER_WEIGHT + max(0, len(value) - 1) + sum(map(count, value))
    return 0


@settings(max_examples=100)
@given(VALUES)
def test_values_are_counted_without_what_strings_hold(value: Any) -> None:
    raw, exact = json.dumps(value).encode(), count(value)
    assert not holds_more_values(raw, exact)
    if exact:
        assert holds_more_values(raw, exact - 1)


def test_strings_may_reach_over_chunks() -> None:
    raw = json.dumps(["[" * (3 << 20), 1, "," * (1 << 20)]).encode()
    assert not holds_more_values(raw, CONTAINER_WEIGHT + 2)
    assert holds_more_values(raw, CONTAINER_WEIGHT + 1)
