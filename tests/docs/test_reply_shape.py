"""The comparison of replies finds each kind of difference."""

import pytest

from tests.docs.reply_shape import difference, json_values, text_difference

REAL = '{"id": "a...b", "n": 1, "on": true, "list": [{"x": 1}, {"x": 2}], "none": null}'


@pytest.mark.parametrize(
    "shown",
    [
        REAL,
        "{...}",
        '{"id": "other", ...}',
        '{..., "n": 2.5}',
        '{"list": [...], ...}',
        '{"list": [{...}, ...], "none": null}',
    ],
)
def test_a_shortened_reply_is_alike(shown: str) -> None:
    assert difference(*json_values(shown), *json_values(REAL)) is None


@pytest.mark.parametrize(
    "shown",
    [
        '{"ID": "x"}',
        '{"n": "1"}',
        '{"on": 1}',
        '{"none": 0}',
        '{"list": {}}',
        '{"list": [{"y": 1}]}',
        '{"list": [{}, {}, {}]}',
        "[]",
    ],
)
def test_another_reply_is_not(shown: str) -> None:
    assert difference(*json_values(shown), *json_values(REAL)) is not None


def test_lines_are_compared_in_order_but_for_numbers() -> None:
    real = 'total 12.5\ndata: {"a": 1}\nused{tier="host"} 3 bytes\ndata: [DONE]\n'
    assert text_difference('total 7\n...\ndata: {"a": 5}\nused{tier="host"} ...\n', real) is None
    assert text_difference("data: [DONE]\ntotal 12.5\n", real) is not None
    assert text_difference('data: {"b": 1}\n', real) is not None
    assert text_difference('used{tier="store"} 3 bytes\n', real) is not None
