"""Calls in a reply are found however its text is cut, and their arguments are as they were written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_parser import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ParserEvent,
    TextDelta,
)
from pararnn_server.tools.formats import FORMATS
from pararnn_server.tools.hermes import HERMES

JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(['"}', "\\", "{["])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
CALLS = st.lists(st.tuples(st.from_regex(r"[a-zA-Z0-9_.-]{1,8}", fullmatch=True), ARGUMENTS), max_size=3)


def joined(events: Sequence[ParserEvent]) -> list[ParserEvent]:
    """Join neighbouring deltas."""
    whole: list[ParserEvent] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            whole[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ArgumentsDelta) and isinstance(last, ArgumentsDelta):
            whole[-1] = ArgumentsDelta(last.text + event.text)
        else:
            whole.append(event)
    return whole


def parsed(form: CallFormat, pieces: Sequence[str]) -> tuple[list[ParserEvent], bool]:
    parser = CallParser(form)
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.end()
    assert parser.num_calls == sum(isinstance(event, CallStart) for event in events)
    assert all(not isinstance(event, (TextDelta, ArgumentsDelta)) or event.text for event in events)
    return joined(events), parser.is_in_call


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def written(form: CallFormat, content: str, calls: Sequence[tuple[str, dict[str, Any]]]) -> str:
    bodies = [name + form.middle + json.dumps(arguments) + form.tail for name, arguments in calls]
    if not bodies:
        return content
    return content + form.opening + ((form.separator or "") + form.head).join(bodies) + form.suffix


@given(
    form=st.sampled_from(sorted(FORMATS.values(), key=lambda form: form.name)),
    content=st.text(max_size=12),
    calls=CALLS,
    places=st.lists(st.integers(0, 400), max_size=8),
)
def test_calls_and_arguments_are_those_that_were_written(
    form: CallFormat, content: str, calls: list[tuple[str, dict[str, Any]]], places: list[int]
) -> None:
    if not form.mark:
        content, calls = "" if calls else f"x{content}", calls[:1]
    events, is_in_call = parsed(form, cut(written(form, content, calls), places))
    expected: list[ParserEvent] = []
    shown = content.rstrip() if calls else content
    if shown:
        expected.append(TextDelta(shown))
    for name, arguments in calls:
        expected += [CallStart(name), ArgumentsDelta(json.dumps(arguments)), CallEnd()]
    assert events == expected
    assert not is_in_call


PIECES = st.sampled_from(
    [
        *(
            "<tool_call>",
            "</tool_call>",
            "<tool",
            "\n",
            '{"name": "',
            "f",
            '", "arguments": ',
            "{",
            "}",
            '{"a": 1}',
        ),
        *('"', "\\", " ", "x", "[TOOL_CALLS]", "[", "]", "[ARGS]", ", ", '", "parameters": '),
    ]
)


@given(
    form=st.sampled_from(sorted(FORMATS.values(), key=lambda form: form.name)),
    text=st.lists(PIECES, max_size=16).map("".join),
    places=st.lists(st.integers(0, 400), max_size=8),
)
def test_events_do_not_depend_on_where_the_text_is_cut(
    form: CallFormat, text: str, places: list[int]
) -> None:
    assert parsed(form, cut(text, places)) == parsed(form, [text])
    assert parsed(form, list(text)) == parsed(form, [text])


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_a_reply_that_was_cut_shows_the_part_of_the_call_that_came(form: CallFormat) -> None:
    text = form.written("look_up", '{"a": "b"}')
    for size in range(len(text) + 1):
        events, is_in_call = parsed(form, [text[:size]])
        assert is_in_call == (len(form.mark) <= size and 0 < size < len(text) - len(form.suffix)), size
        shown = "".join(event.text for event in events if isinstance(event, ArgumentsDelta))
        assert '{"a": "b"}'.startswith(shown)
        is_mark = size < len(form.mark)
        assert all(isinstance(event, TextDelta) == is_mark for event in events)


def test_a_call_that_is_in_no_format_is_text() -> None:
    for text in (
        "<tool_call>x",
        '<tool_call>\n{"name": "f", "a": {}}',
        '<tool_call>\n{"name": "f", "arguments": 1',
    ):
        assert parsed(HERMES, [text]) == ([TextDelta(text)], False)


def test_space_before_a_call_is_left_out_and_does_not_pile_up() -> None:
    call = HERMES.written("f", "{}")
    assert parsed(HERMES, ["so\n", "\n", call])[0][0] == TextDelta("so")
    assert parsed(HERMES, [" ", call])[0][0] == CallStart("f")
    parser = CallParser(HERMES)
    shown = [event for _ in range(1000) for event in parser.feed(" ")]
    assert len(shown) == 1000 - 64
    assert parser.end() == [TextDelta(" " * 64)]
