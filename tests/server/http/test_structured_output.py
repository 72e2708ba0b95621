"""A reply has the form that its request asks for, on each route, and a form that cannot be had is a 400."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.server.http_server import HttpServer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "kind": {"enum": ["cat", "dog"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 30},
    },
    "required": ["name", "kind", "age"],
    "additionalProperties": False,
}
HOT = {"max_tokens": 200, "temperature": 2.0, "seed": 3}
NAMED = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}
DIGITS = {"structured_outputs": {"regex": "[0-9]{3}"}}


def validate(text: str) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(text))


def only(answer: dict[str, Any]) -> tuple[str, str]:
    """Text and finish reason of the only choice."""
    [choice] = answer["choices"]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    return text, choice["finish_reason"]


def test_replies_are_valid_by_the_schema(server: HttpServer) -> None:
    for answer in (
        server.chat("a pet", response_format=NAMED, **HOT),
        server.complete("a pet", response_format=NAMED, **HOT),
        server.complete("a pet", structured_outputs={"json": SCHEMA}, **HOT),
        server.complete("a pet", structured_outputs={"json": json.dumps(SCHEMA)}, **HOT),
        server.complete("a pet", guided_json=SCHEMA, **HOT),
        server.complete("a pet", response_format={"type": "json_object", "schema": SCHEMA}, **HOT),
    ):
        text, reason = only(answer)
        assert reason == "stop"
        validate(text)


def test_a_response_is_valid_by_its_text_format(server: HttpServer) -> None:
    form = {"type": "json_schema", "name": "pet", "schema": SCHEMA, "strict": True}
    body = {"input": "a pet", "text": {"format": form}, **HOT}
    answer = server.answer("/v1/responses", body)
    assert answer["status"] == "completed"
    assert answer["text"] == {"format": form}
    validate(answer["output"][0]["content"][0]["text"])
    object_answer = server.answer("/v1/responses", {**body, "text": {"format": {"type": "json_object"}}})
    assert object_answer["output"][0]["content"][0]["text"].startswith("{")


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"regex": "[a-f]+-[0-9]{2}"}, "[a-f]+-[0-9]{2}"),
        ({"choice": ["yes", "no", "maybe so"]}, "yes|no|maybe so"),
        ({"grammar": 'root ::= "<" [a-c]+ ">"'}, "<[a-c]+>"),
        ({"grammar": 'start: "<" /[a-c]+/ ">"'}, "<[a-c]+>"),
        ({"json_object": True}, r"\{.*"),
    ],
)
def test_a_reply_has_the_form_of_structured_outputs(
    server: HttpServer, form: dict[str, Any], pattern: str
) -> None:
    text, reason = only(server.complete("x", structured_outputs=form, **HOT))
    assert re.fullmatch(pattern, text, re.DOTALL)
    assert reason == "stop" or form == {"json_object": True}


def test_a_streamed_reply_is_the_whole_one(server: HttpServer) -> None:
    body = {"prompt": "a pet", "response_format": NAMED, **HOT}
    text, _ = only(server.answer("/v1/completions", body))
    events = server.events("/v1/completions", body)
    assert "".join(event["choices"][0]["text"] for event in events) == text
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_each_choice_has_the_form(server: HttpServer) -> None:
    choices = server.complete(["a", "b"], n=3, response_format=NAMED, **HOT)["choices"]
    assert len({choice["text"] for choice in choices}) > 1
    for choice in choices:
        validate(choice["text"])


def test_a_cut_reply_is_a_beginning_of_the_form(server: HttpServer) -> None:
    whole, _ = only(server.complete("x", response_format=NAMED, **HOT))
    for max_tokens in (1, 5, 20):
        text, reason = only(server.complete("x", response_format=NAMED, **{**HOT, "max_tokens": max_tokens}))
        assert (whole.startswith(text), reason) == (True, "length")
    text, reason = only(server.complete("x", response_format=NAMED, stop='"kind', **HOT))
    assert (text, reason) == (whole[: whole.index('"kind')], "stop")


def test_without_eos_a_reply_goes_on_while_its_form_can(server: HttpServer) -> None:
    body = {**HOT, "structured_outputs": {"regex": "a{2,7}"}, "logit_bias": {"262": 100}}
    assert only(server.complete("x", **body)) == ("aa", "stop")
    assert only(server.complete("x", ignore_eos=True, **body)) == ("a" * 7, "stop")


def test_turns_of_a_session_have_forms_of_their_own(server: HttpServer) -> None:
    session = server.create_session()
    for form, pattern in (("[0-9]{3}", "[0-9]{3}"), (None, ""), ("[a-c]{4}", "[a-c]{4}")):
        outputs = None if form is None else {"regex": form}
        text, _ = only(server.complete("x", session_id=session, structured_outputs=outputs, **HOT))
        assert re.match(pattern, text)


def test_a_repeated_request_has_the_same_answer(server: HttpServer) -> None:
    body = {"prompt": "x", "session_id": server.create_session(), **DIGITS, **HOT}
    first, again = (
        server.post("/v1/completions", body, headers={"Idempotency-Key": "once"}).json() for _ in range(2)
    )
    assert only(first) == only(again)
    assert re.fullmatch("[0-9]{3}", only(first)[0])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "a schema that is missing": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    "a schema that is not supported": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"items": {"not": {}}}}}},
        "response_format.json_schema.schema.items",
    ),
    "a name with spaces": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "response_format.json_schema.name",
    ),
    "an unknown field": ({"response_format": {"type": "text", "strict": True}}, "response_format.strict"),
    "two forms": ({"response_format": {"type": "json_object"}, **DIGITS}, "structured_outputs.regex"),
    "two structured outputs": ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
    "no structured output": ({"structured_outputs": {}}, "structured_outputs"),
    "a regex that is none": ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
    "a grammar that is none": ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar"),
    "no choice": ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    "a schema that is no JSON": ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
    "a schema that is no object": ({"guided_json": "[]"}, "guided_json"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("route", ["completions", "chat"])
def test_a_form_that_cannot_be_had_is_a_400_that_names_it(server: HttpServer, route: str, name: str) -> None:
    fields, param = REFUSED[name]
    content = {"prompt": "x"} if route == "completions" else {"messages": [{"role": "user", "content": "x"}]}
    path = "/v1/completions" if route == "completions" else "/v1/chat/completions"
    response = server.post(path, {**content, **fields})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param}:") or param in error["message"]


def test_a_response_names_the_place_in_its_schema(server: HttpServer) -> None:
    form = {"type": "json_schema", "name": "a", "schema": {"properties": {"a": {"if": {}}}}}
    response = server.post("/v1/responses", {"input": "x", "text": {"format": form}})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "text.format.schema.properties.a"
