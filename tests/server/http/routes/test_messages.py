"""POST /v1/messages on the wire: events in their order, and true counts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.http.schemas.messages import (
    MessageEvent,
)
from pararnn_server.models.loading import Loaded

from tests.server.http.routes.message_calls import (
    BASE,
    CHAT,
    COUNT,
    MESSAGES,
    ask,
    assistant,
    events,
    messages_as_read,
    text,
    text_of,
    tokens,
    user,
)
from tests.server.http_server import HttpServer, serving


def test_a_message_is_the_chat_that_asks_for_the_same(server: HttpServer) -> None:
    answer = ask(server, user("thé"), assistant("in"), user("é"), system="be brief", max_tokens=30)
    talk = [{"role": "system", "content": "be brief"}, user("thé"), assistant("in"), user("é")]
    chat = server.answer(CHAT, {"messages": talk, **BASE, "max_tokens": 30})
    assert text_of(answer) == chat["choices"][0]["message"]["content"]
    assert tokens(answer["usage"]) == (chat["usage"]["prompt_tokens"], chat["usage"]["completion_tokens"])
    assert re.fullmatch(r"msg_[0-9a-f]{24}", answer["id"])
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "tiny")


@pytest.mark.parametrize("seed", range(3))
def test_streamed_text_equals_unstreamed(server: HttpServer, seed: int) -> None:
    fields = {"seed": seed, "max_tokens": 40}
    whole = ask(server, user("the thé"), **fields)
    stream = events(server, user("the thé"), **fields)
    deltas = [data["delta"]["text"] for name, data in stream if name == "content_block_delta"]
    assert "".join(deltas) == text_of(whole)
    [(_, end)] = [event for event in stream if event[0] == "message_delta"]
    assert end["delta"] == {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    assert tokens(end["usage"]) == tokens(whole["usage"])


def test_events_come_in_the_recorded_order_and_shape(server: HttpServer) -> None:
    """Each event has the fields, in their order, that Anthropic's API was seen to send."""
    stream = events(server, user("the"), max_tokens=3, stop_sequences=["q"])
    names = [name for name, _ in stream]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[3:-3] == ["content_block_delta"] * (len(names) - 6) != []
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert all(data["type"] == name for name, data in stream)
    data = dict(stream)
    usage = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"]
    message = data["message_start"]["message"]
    assert list(message["usage"]) == list(data["message_delta"]["usage"]) == usage
    assert message | {"id": "", "usage": {}} == {
        "id": "",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "tiny",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {},
    }
    block = {"type": "text", "text": ""}
    assert data["content_block_start"] == {"type": "content_block_start", "index": 0, "content_block": block}
    assert data["content_block_delta"]["index"] == data["content_block_stop"]["index"] == 0
    assert data["content_block_delta"]["delta"]["type"] == "text_delta"
    assert list(data["message_delta"]) == ["type", "delta", "usage"]
    assert data["message_stop"] == {"type": "message_stop"}
    for event in data.values():
        MessageEvent.model_validate_json(json.dumps(event))


def test_counts_at_the_start_of_a_stream_are_those_of_its_end(server: HttpServer) -> None:
    asked = user("of the inner thing " * 20)
    for _ in range(2):
        data = dict(events(server, asked))
        start, end = data["message_start"]["message"]["usage"], data["message_delta"]["usage"]
        assert start | {"output_tokens": 16} == end | {"output_tokens": 16}
        assert start["output_tokens"] == 0 < end["output_tokens"]
    assert end["cache_read_input_tokens"] > 0


def test_tokens_read_from_the_cache_are_counted_apart(loaded: Loaded) -> None:
    with serving(loaded) as server:
        asked = user("of the inner thing " * 20)
        length = server.answer(COUNT, {"messages": [asked]})["input_tokens"]
        first, second = (ask(server, asked)["usage"] for _ in range(2))
    assert (first["input_tokens"], first["cache_read_input_tokens"]) == (length, 0)
    assert (second["input_tokens"], second["cache_read_input_tokens"]) == (0, length)
    assert first["cache_creation_input_tokens"] == second["cache_creation_input_tokens"] == 0


@pytest.mark.parametrize("prefilled", ["", "so "])
def test_a_conversation_that_comes_back_is_read_ahead(loaded: Loaded, prefilled: str) -> None:
    """The next turn has the reply as text, which may be encoded otherwise than it was generated."""
    with serving(loaded) as server:
        asked = [user("of the inner thing " * 20), *([assistant(prefilled)] if prefilled else [])]
        first = ask(server, *asked, ignore_eos=None)
        said = assistant(prefilled + text_of(first))
        again = ask(server, asked[0], said, user("more"))["usage"]
    assert again["input_tokens"] < 20 < again["cache_read_input_tokens"]


@pytest.mark.parametrize(
    ("fields", "reason", "sequence"),
    [
        ({}, "max_tokens", None),
        ({"stop_sequences": list("etaoinshrdlu xyz")}, "stop_sequence", "any"),
        ({"max_tokens": 0}, "max_tokens", None),
    ],
)
def test_stop_reason_says_what_ended_the_reply(
    server: HttpServer, fields: dict[str, Any], reason: str, sequence: str | None
) -> None:
    fields = {"max_tokens": 200 if "stop_sequences" in fields else 3, **fields}
    whole, data = ask(server, **fields), dict(events(server, **fields))
    assert whole["stop_reason"] == data["message_delta"]["delta"]["stop_reason"] == reason
    assert whole["stop_sequence"] == data["message_delta"]["delta"]["stop_sequence"]
    if sequence is None:
        assert whole["stop_sequence"] is None
    else:
        assert whole["stop_sequence"] in fields["stop_sequences"]
        assert whole["stop_sequence"] not in text_of(whole)


def test_a_reply_without_text_has_no_block_and_can_be_sent_back(server: HttpServer) -> None:
    whole, stream = ask(server, max_tokens=0), events(server, max_tokens=0)
    assert whole["content"] == []
    assert [name for name, _ in stream] == ["message_start", "message_delta", "message_stop"]
    assert ask(server, user(), assistant(whole["content"]), user())["content"]


# What the model reads.


def test_a_reply_that_is_begun_is_continued(server: HttpServer) -> None:
    """The ids are those of the chat without it, and of its text."""
    [opened, begun] = (
        server.answer(COUNT, {"messages": messages})["input_tokens"]
        for messages in ([user("a")], [user("a"), assistant("in th")])
    )
    whole = server.answer("/tokenize", {"messages": [user("a")]})["tokens"]
    rest = server.answer("/tokenize", {"prompt": "in th", "add_special_tokens": False})["tokens"]
    assert (opened, begun) == (len(whole), len(whole) + len(rest))
    answer = ask(server, user("a"), assistant([text("in "), text("th")]))
    assert text_of(answer) == server.complete(whole + rest, **BASE)["choices"][0]["text"]


BLOCKS = [text("th"), text("e", citations=None), text("")]
MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ([user(BLOCKS)], [user("the")]),
        ([user("a"), user("b")], [user("a\n\nb")]),
        ([user("a"), assistant("b"), assistant("c"), user("d")], [user("a"), assistant("b\n\nc"), user("d")]),
        (
            [
                user("a"),
                assistant([{"type": "thinking", "thinking": "hm", "signature": "s"}, text("b")]),
                user(),
            ],
            [user("a"), assistant("b"), user()],
        ),
        (
            [user("a"), assistant([{"type": "redacted_thinking", "data": "x"}, text("b")]), user()],
            [user("a"), assistant("b"), user()],
        ),
        ([{"role": "system", "content": [text("s")]}, user()], [{"role": "system", "content": "s"}, user()]),
    ],
)
def test_messages_are_read_as_the_text_that_they_hold(
    server: HttpServer, asked: list[dict[str, Any]], same: list[dict[str, Any]]
) -> None:
    assert messages_as_read(server, *asked) == same
    assert text_of(ask(server, *asked)) == text_of(ask(server, *same))


def test_a_mark_is_that_of_a_chat(server: HttpServer) -> None:
    marked = [text("a"), text("b", cache_control=MARK), text("c")]
    [read] = messages_as_read(server, user(marked))
    marks = [(part.text, part.prompt_cache_breakpoint) for part in read["content"]]
    assert [(each, mark and mark.ttl) for each, mark in marks] == [("a", None), ("b", "5m"), ("c", None)]
    [_, read] = messages_as_read(server, user("a"), assistant("b"), cache_control=MARK | {"ttl": "1h"})
    assert [(part.text, bool(part.prompt_cache_breakpoint)) for part in read["content"]] == [
        ("b", False),
        ("", True),
    ]
    result = {"type": "tool_result", "tool_use_id": "a", "content": "3", "cache_control": MARK}
    [read] = messages_as_read(server, user([result]))
    assert [(part.text, bool(part.prompt_cache_breakpoint)) for part in read["content"]] == [
        ("3", False),
        ("", True),
    ]


def test_tokens_up_to_the_last_mark_are_counted_as_written(loaded: Loaded) -> None:
    shared = [text("of the inner thing " * 20, cache_control=MARK)]
    with serving(loaded) as server:
        counts = [
            ask(server, user(question), system=shared)["usage"]
            for question in ("a first question", "another one", "another one")
        ]
        plain = ask(server, user("and one more"), system=shared[0]["text"])["usage"]
    first, second, third = counts
    assert first["cache_read_input_tokens"] == 0 < first["input_tokens"] < 40
    marked = first["cache_creation_input_tokens"]
    assert marked > 200
    assert (second["cache_creation_input_tokens"], second["cache_read_input_tokens"]) == (0, marked)
    assert (third["input_tokens"], third["cache_creation_input_tokens"]) == (0, 0)
    assert plain["cache_creation_input_tokens"] == 0 < marked <= plain["cache_read_input_tokens"]


def test_the_form_of_a_reply_is_that_of_its_schema(server: HttpServer) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    for seed in range(3):
        answer = ask(server, seed=seed, max_tokens=300, temperature=2, **form)
        if answer["stop_reason"] == "end_turn":
            assert json.loads(text_of(answer))["n"] in (1, 2)


def test_system_may_be_blocks(server: HttpServer) -> None:
    answers = [ask(server, system=system) for system in ("be brief", [text("be "), text("brief")], "", None)]
    assert text_of(answers[0]) == text_of(answers[1]) != text_of(answers[2]) == text_of(answers[3])


def test_calls_and_their_results_are_the_messages_of_a_chat(server: HttpServer) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": [1, 2.5, "é", None]}}
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("3"), text(".5")]},
        {"type": "tool_result", "tool_use_id": "other", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_1"},
        text("well?"),
    ]
    read = messages_as_read(server, user("a"), assistant([text("so"), call]), user(results))
    assert [each["role"] for each in read] == ["user", "assistant", "tool", "tool", "tool", "user"]
    [called] = read[1]["tool_calls"]
    assert (read[1]["content"], called.id, called.function.name) == ("so", "toolu_1", "add")
    assert json.loads(called.function.arguments) == call["input"]
    assert [(each["content"], each["tool_call_id"], each["name"]) for each in read[2:5]] == [
        ("3.5", "toolu_1", "add"),
        ("Error: no", "other", None),
        ("", "toolu_1", "add"),
    ]
    assert read[5] == user("well?")


@settings(max_examples=25)
@given(
    system=st.one_of(st.none(), st.text(max_size=20)),
    talk=st.lists(
        st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=20)), min_size=1, max_size=5
    ),
)
def test_a_count_is_the_input_of_the_message(
    server: HttpServer, system: str | None, talk: list[tuple[str, str]]
) -> None:
    body = {"messages": [{"role": role, "content": text} for role, text in talk], "system": system}
    counted = server.post(COUNT, body)
    answer = server.post(MESSAGES, body | {"max_tokens": 1})
    assert counted.status_code == answer.status_code
    if answer.status_code == 200:
        assert tokens(answer.json()["usage"])[0] == counted.json()["input_tokens"]
