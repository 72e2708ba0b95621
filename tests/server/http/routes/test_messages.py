"""POST /v1/messages on the wire: events in their order, true counts, Anthropic's errors."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from anthropic import Anthropic, APIStatusError
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.http.messages_to_chat import chat_messages, chat_of
from pararnn_server.http.schemas.chat import ChatRequest
from pararnn_server.http.schemas.messages import (
    MessageCountRequest,
    MessageEvent,
    MessageHonoured,
    MessageNeutral,
    MessageRecorded,
    MessageRequest,
)
from pararnn_server.models.loading import Loaded
from pararnn_server.models.registry import ModelRegistry

from tests.server.http.test_documentation import section
from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

MESSAGES, COUNT, CHAT = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
BASE: dict[str, Any] = {"max_tokens": 16, "seed": 11}
X, Y = (str(ord(letter) - 33) for letter in "xy")


def user(content: Any = "the x") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def ask(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return server.answer(MESSAGES, {"messages": list(messages) or [user()], **BASE, **fields})


def events(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event of a stream."""
    body = {"messages": list(messages) or [user()], "stream": True, **BASE, **fields}
    answer = server.post(MESSAGES, body)
    assert answer.status_code == 200, answer.text
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    assert "".join(f"event: {name}\ndata: {data}\n\n" for name, data in found) == answer.text
    return [(name, json.loads(data)) for name, data in found]


def text_of(answer: dict[str, Any]) -> str:
    return "".join(block["text"] for block in answer["content"])


def tokens(usage: dict[str, int]) -> tuple[int, int]:
    """Tokens of the prompt, cached or not, and of the reply."""
    return sum(count for name, count in usage.items() if "input" in name), usage["output_tokens"]


def messages_as_read(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    body = MessageRequest.model_validate({"messages": list(messages), "max_tokens": 1, **fields})
    return [dict(each) for each in chat_messages(body)]


# Answers and events.


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


@settings(max_examples=25, deadline=None)
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


# Fields.

DIFFERENCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({}, {"max_tokens": 3}),
    "messages": ({}, {"messages": [user("other")]}),
    "system": ({}, {"system": "other"}),
    "stop_sequences": ({}, {"stop_sequences": list("etaoinshrdlu xyz"), "max_tokens": 200}),
    "temperature": ({}, {"temperature": 0}),
    "top_p": ({}, {"top_p": 0.01}),
    "top_k": ({}, {"top_k": 1}),
    "seed": ({}, {"seed": 12}),
    "output_config": ({}, {"output_config": {"format": {"type": "json_schema", "schema": {"const": 7}}}}),
}
TESTED_ELSEWHERE = {
    *("model", "stream", "session_id", "expected_turn", "cache_salt", "timeout", "cache_control"),
}
NEUTRAL: list[tuple[str, Any]] = [
    ("output_config", {"effort": "high"}),
    ("output_config", {}),
    ("service_tier", "auto"),
    ("service_tier", "standard_only"),
    ("speed", "standard"),
    ("thinking", {"type": "disabled"}),
    ("thinking", {"type": "adaptive", "display": "omitted"}),
    ("tool_choice", {"type": "none"}),
    ("tool_choice", {"type": "auto", "disable_parallel_tool_use": True}),
    ("tools", []),
    ("thread", None),
    ("metadata", {"user_id": "u"}),
    ("surprise", None),
]


def documented() -> dict[str, str]:
    """Kind of each field."""
    return dict(re.findall(r"^\| `(\w+)` \| (honoured|recorded|neutral) \|", section("Messages"), re.M))


def test_the_published_table_is_that_of_the_schema() -> None:
    kinds = {"honoured": MessageHonoured, "recorded": MessageRecorded, "neutral": MessageNeutral}
    fields = {name: kind for kind, model in kinds.items() for name in model.model_fields}
    assert documented() == fields
    assert fields.keys() == MessageRequest.model_fields.keys() >= MessageCountRequest.model_fields.keys()


def test_every_field_is_tried() -> None:
    tried = DIFFERENCES.keys() | TESTED_ELSEWHERE | {field for field, _ in NEUTRAL}
    assert documented().keys() <= tried


@pytest.mark.parametrize("field", DIFFERENCES)
def test_honoured_field_changes_the_answer(server: HttpServer, field: str) -> None:
    common, change = DIFFERENCES[field]
    plain, again, changed = (
        server.answer(MESSAGES, {"messages": [user()], **BASE, **common, **fields})
        for fields in ({}, {}, change)
    )
    assert text_of(plain) == text_of(again) != text_of(changed)


@pytest.mark.parametrize(("field", "value"), NEUTRAL)
def test_neutral_value_changes_nothing(server: HttpServer, field: str, value: Any) -> None:
    assert text_of(ask(server)) == text_of(ask(server, **{field: value}))


def test_what_is_recorded_goes_to_the_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pararnn.access")
    ask(server, metadata={"user_id": "somebody"})
    eventually(lambda: "somebody" in caplog.text)


def test_headers_and_query_of_beta_clients_change_nothing(server: HttpServer) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "fine-grained-tool-streaming-2025-05-14"}
    body = {"messages": [user()], **BASE}
    beta = server.post(MESSAGES, body, headers=headers, params={"beta": "true"})
    assert text_of(beta.json()) == text_of(ask(server))
    assert server.post(COUNT, {"messages": [user()]}, params={"beta": "true"}).status_code == 200


def test_a_session_reads_only_what_is_new(server: HttpServer) -> None:
    session_id = server.create_session()
    first = ask(server, user("the"), session_id=session_id, expected_turn=0)
    data = dict(events(server, user("in"), session_id=session_id, expected_turn=1))
    assert (first["session"]["turn"], data["message_delta"]["session"]["turn"]) == (1, 2)
    assert tokens(data["message_delta"]["usage"])[0] < 12
    late = server.post(MESSAGES, {"messages": [user()], **BASE, "session_id": session_id, "expected_turn": 1})
    assert (late.status_code, late.json()["error"]["type"]) == (409, "conflict_error")
    assert late.headers["x-should-retry"] == "false"


def test_a_turn_of_a_session_is_answered_once(server: HttpServer) -> None:
    body = {"messages": [user()], **BASE, "session_id": server.create_session()}
    headers = {"idempotency-key": "once"}
    first, again = (server.post(MESSAGES, body, headers=headers).json() for _ in range(2))
    assert first == again
    other = server.post(MESSAGES, body | {"messages": [user("other")]}, headers=headers)
    assert other.status_code == 409 or other.status_code == 400


# Errors.

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "a"}, "messages"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [user(7)]}, "messages.0.content"),
    ({"messages": [user() | {"name": "ann"}]}, "messages.0.name"),
    ({"messages": [user([{"type": "image", "source": {}}])]}, "messages.0.content.0.type"),
    ({"messages": [user([{"type": "document", "source": {}}])]}, "messages.0.content.0.type"),
    (
        {"messages": [user([text("a", cache_control={"type": "other"})])]},
        "messages.0.content.0.cache_control.type",
    ),
    ({"messages": [user([text("a", citations=[{}])])]}, "messages.0.content.0.citations"),
    ({"messages": [user([text("a", colour="red")])]}, "messages.0.content.0.colour"),
    (
        {"messages": [user([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])]},
        "messages.0.content.0.type",
    ),
    (
        {"messages": [user(), assistant([{"type": "tool_result", "tool_use_id": "a"}])]},
        "messages.1.content.0.type",
    ),
    (
        {"messages": [user([text("a"), {"type": "tool_result", "tool_use_id": "a"}])]},
        "messages.0.content.1",
    ),
    (
        {"messages": [user([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}])]},
        "messages.0.content.0.content.0.type",
    ),
    (
        {"messages": [user(), assistant([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])]},
        "messages.1.content",
    ),
    (
        {"messages": [{"role": "system", "content": [{"type": "thinking", "thinking": "a"}]}]},
        "messages.0.content.0.type",
    ),
    ({"system": [{"type": "image"}]}, "system.0.type"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"temperature": "1"}, "temperature"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": [""]}, "stop_sequences.0"),
    ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
    ({"stop_sequences": "a"}, "stop_sequences"),
    ({"metadata": {"user": "a"}}, "metadata.user"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
    ({"output_config": {"effort": "low"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"output_config": {"format": {"type": "text", "schema": {}}}}, "output_config.format.type"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "strange"}}}},
        "output_config.format.schema",
    ),
    ({"cache_control": {"type": "ephemeral", "ttl": "30m"}}, "cache_control.ttl"),
    ({"messages": [user([text("a", cache_control={"type": "ephemeral"})] * 5)]}, "cache_control"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"speed": "fast"}, "speed"),
    ({"container": "x"}, "container"),
    ({"thread": {"type": "create"}}, "thread"),
    ({"stop": "a"}, "stop"),
    ({"n": 2}, "n"),
    ({"timeout": 10**6}, "timeout"),
    ({"expected_turn": 1}, "expected_turn"),
]


def check_error(response: Any, status: int, kind: str, param: str | None) -> str:
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind), body
    assert body["error"]["details"]["param"] == param
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    return str(body["error"]["message"])


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_a_bad_field_is_a_400_that_names_it(server: HttpServer, fields: dict[str, Any], param: str) -> None:
    response = server.post(MESSAGES, {"messages": [user()], **BASE, **fields})
    message = check_error(response, 400, "invalid_request_error", param)
    assert param.split(".")[0] in message


def test_an_image_is_refused_because_only_text_is_read(server: HttpServer) -> None:
    response = server.post(MESSAGES, {"messages": [user([{"type": "image", "source": {}}])], **BASE})
    assert "reads text alone" in response.json()["error"]["message"]


KEY = "k" * 20


def test_every_error_below_messages_has_the_shape_of_its_clients(loaded: Loaded) -> None:
    body = {"messages": [user()], **BASE}
    with serving(loaded, key=KEY, api_keys=f"one:{KEY}", max_body_bytes=4096) as server:
        for headers in ({"authorization": "Bearer no"}, {"x-api-key": "no", "authorization": ""}):
            check_error(server.post(MESSAGES, body, headers=headers), 401, "authentication_error", None)
        assert server.post(MESSAGES, body, headers={"x-api-key": KEY, "authorization": ""}).status_code == 200
        missing = server.post(MESSAGES, body | {"model": "claude"})
        assert "claude" in check_error(missing, 404, "not_found_error", "model")
        check_error(server.get("/v1/messages/batches"), 404, "not_found_error", None)
        check_error(server.get(MESSAGES), 405, "invalid_request_error", None)
        large = server.post(MESSAGES, body | {"system": "a" * 5000})
        check_error(large, 413, "request_too_large", "body")
        plain = server.post(MESSAGES, content=b"{}", headers={"content-type": "text/plain"})
        check_error(plain, 415, "invalid_request_error", None)
        check_error(
            server.post(MESSAGES, None, content=b"{", headers=JSON), 400, "invalid_request_error", "body"
        )
        late = server.post(MESSAGES, body | {"timeout": 1e-6})
        check_error(late, 504, "timeout_error", None)
        unknown = server.post(MESSAGES, body | {"session_id": "sess_x"})
        check_error(unknown, 404, "not_found_error", "session_id")
        query = server.post(MESSAGES, body, params={"x": "1"})
        check_error(query, 400, "invalid_request_error", "x")


JSON = {"content-type": "application/json"}


def test_limits_and_faults_have_the_shape_of_its_clients(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"messages": [user()], **BASE}
    with serving(loaded, key_max_requests=1) as server:
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            check_error(server.post(MESSAGES, body), 429, "rate_limit_error", None)
        eventually(lambda: server.busy_slots() == 0)
        ready, server.service.models = server.service.models, ModelRegistry()
        try:
            loading = server.post(MESSAGES, body)
            check_error(loading, 529, "overloaded_error", None)
            assert "retry-after" in loading.headers
        finally:
            server.service.models = ready

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("a secret")

        monkeypatch.setattr("pararnn_server.http.routes.messages.chat_of", fail)
        assert "secret" not in check_error(server.post(MESSAGES, body), 500, "api_error", None)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that do not end by themselves; no field of the route asks for them."""

    def without_end(body: MessageRequest) -> ChatRequest:
        return chat_of(body).model_copy(update={"ignore_eos": True})

    monkeypatch.setattr("pararnn_server.http.routes.messages.chat_of", without_end)


@pytest.mark.usefixtures("endless")
def test_what_fails_in_the_middle_is_an_event(server: HttpServer) -> None:
    session_id = server.create_session()
    body = {"messages": [user()], "max_tokens": 100_000, "stream": True, "session_id": session_id}
    with server.http.stream("POST", MESSAGES, json=body) as stream:
        lines = stream.iter_lines()
        for line in lines:
            if line == "event: content_block_delta":
                break
        server.http.delete(f"/v1/sessions/{session_id}")
        rest = list(lines)
        request_id = stream.headers["request-id"]
    assert rest[-3] == "event: error"
    error = json.loads(rest[-2].removeprefix("data: "))
    assert error["error"]["type"] == "conflict_error"
    assert (error["type"], error["request_id"]) == ("error", request_id)


@pytest.mark.usefixtures("endless")
def test_the_client_raises_what_fails_in_the_middle(server: HttpServer) -> None:
    session_id = server.create_session()
    fields: dict[str, Any] = {"extra_body": {"session_id": session_id}, "max_tokens": 100_000}
    with (
        Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
        pytest.raises(APIStatusError, match="deleted") as failed,
        client.messages.stream(model="tiny", messages=[{"role": "user", "content": "a"}], **fields) as stream,
    ):
        for event in stream:
            if event.type == "text":
                server.http.delete(f"/v1/sessions/{session_id}")
    assert failed.value.type == "conflict_error"
    assert failed.value.request_id


def test_a_silent_stream_pings_as_its_clients_expect(loaded: Loaded) -> None:
    with serving(loaded, stream_ping_seconds=0.05) as server:
        # One key's prompt of many steps, so that nothing is sampled for long.
        body = {"messages": [user("the " * 50_000)], "stream": True, **BASE}
        answer = server.post(MESSAGES, body).text
    before, _, _ = answer.partition("event: content_block_start")
    assert before.count('event: ping\ndata: {"type":"ping"}\n\n') > 0
    assert ": ping\n" not in answer.replace("event: ping\n", "")


# Hostile bodies.


def many(count: int, block: dict[str, Any]) -> bytes:
    return json.dumps({"messages": [user([block] * count)], "max_tokens": 1}).encode()


def nested(depth: int) -> bytes:
    value = '{"a":' * depth + "1" + "}" * depth
    call = '{"type":"tool_use","id":"a","name":"b","input":' + value + "}"
    return b'{"max_tokens":1,"messages":[{"role":"assistant","content":[' + call.encode() + b"]}]}"


@pytest.mark.parametrize(
    "body",
    [
        many(100_000, text("a")),
        many(100_000, {"type": "image"}),
        many(40_000, {"type": "text"}),
        many(40_000, {"type": "tool_result", "tool_use_id": "a"} | {"content": [{"type": "image"}]}),
        nested(50_000),
        nested(150),
        json.dumps({"messages": [user()] * 3000, "max_tokens": 1}).encode(),
        json.dumps({"messages": [user()], "max_tokens": 1, "system": [{"type": "text"}] * 50_000}).encode(),
    ],
)
def test_a_hostile_body_is_one_400(server: HttpServer, body: bytes) -> None:
    response = server.http.post(MESSAGES, content=body, headers=JSON)
    assert response.status_code == 400, response.text[:200]
    assert len(response.content) < 1000
    assert server.get("/ready").status_code == 200


def test_many_blocks_are_read(server: HttpServer) -> None:
    response = server.http.post(MESSAGES, content=many(40_000, text("a")), headers=JSON)
    assert tokens(response.json()["usage"])[0] > 40_000
