"""Replies under the grammar of tools: calls are well formed, and texts open none."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pararnn_server.grammars.specs import Lark
from pararnn_server.grammars.tool_grammar import schema_of, tool_grammar
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_parser import ArgumentsDelta, CallParser, CallStart, TextDelta
from pararnn_server.tools.formats import FORMATS
from pararnn_server.tools.hermes import HERMES
from pararnn_server.tools.plain_json import PLAIN_JSON
from pararnn_server.tools.tool import Tool, ToolMode, ToolUse

from tests.server.grammars.grammar_fixtures import accepts, compiled, tokenizer, walk
from tests.server.text.tool_templates import TIME, WEATHER

TOOLS = (WEATHER, TIME)
CALL = '{"city": "Bern", "days": 3}'


def grammar(form: CallFormat, mode: ToolMode, *, parallel: bool = True, **options: Any) -> Lark:
    use = ToolUse(TOOLS, mode, TOOLS, parallel)
    schemas = [schema_of(tool.parameters) for tool in TOOLS]
    return tool_grammar(use, form, tokenizer().control_ids, schemas, **options)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_required_is_a_call_from_the_first_token(form: CallFormat) -> None:
    spec = grammar(form, "required")
    call = form.written("get_weather", CALL)
    assert accepts(spec, call)
    assert accepts(spec, form.written("get_time", "{}"))
    for wrong in ("", "text", f"text{call}", f"{call} text", form.written("get_weather", '{"city": 1}')):
        assert not accepts(spec, wrong), wrong
    assert not accepts(spec, form.written("other", "{}"))


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_auto_is_a_text_or_a_call_and_the_call_is_well_formed(form: CallFormat) -> None:
    spec = grammar(form, "auto")
    call = form.written("get_weather", CALL)
    for text in ("", "hello", "two\nlines", call, f"so\n{call}" if form.mark else call, form.mark[:-1]):
        assert accepts(spec, text), text
    for wrong in (f"{call} text", form.opening, form.written("get_weather", "{}"), form.written("f", "{}")):
        assert not accepts(spec, wrong), wrong


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_none_opens_no_call(form: CallFormat) -> None:
    spec = grammar(form, "none")
    assert accepts(spec, "hello")
    assert accepts(spec, "")
    assert not accepts(spec, form.written("get_time", "{}"))


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_several_calls_come_only_where_they_may(form: CallFormat) -> None:
    one = "get_time" + form.middle + "{}" + form.tail
    two = form.opening + one + (form.separator or "") + form.head + one + form.suffix
    for mode in ("auto", "required"):
        assert accepts(grammar(form, mode), two) == (form.separator is not None)
        assert not accepts(grammar(form, mode, parallel=False), two)


def test_a_reply_with_a_schema_follows_it_or_calls() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for mode in ("auto", "none"):
        spec = grammar(HERMES, mode, reply_schema=schema)
        assert accepts(spec, '{"a": 1}')
        assert not accepts(spec, "hello")
        assert accepts(spec, HERMES.written("get_time", "{}")) == (mode == "auto")


@pytest.mark.parametrize("form", [HERMES, PLAIN_JSON], ids=["hermes", "json"])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_calls_of_random_replies_are_valid(form: CallFormat, mode: ToolMode) -> None:
    spec = grammar(form, mode)
    tools = {tool.name: schema_of(tool.parameters) for tool in TOOLS}
    num_calls = 0
    for seed in range(12):
        text, is_whole = walk(spec, seed, 400)
        parser = CallParser(form)
        events = [*parser.feed(text.decode("utf-8", "replace")), *parser.end()]
        if mode == "required":
            assert not any(isinstance(event, TextDelta) for event in events)
        if not is_whole:
            continue
        assert not parser.is_in_call
        starts = [place for place, event in enumerate(events) if isinstance(event, CallStart)]
        for place in starts:
            name, arguments = events[place], events[place + 1]
            assert isinstance(name, CallStart)
            assert isinstance(arguments, ArgumentsDelta)
            jsonschema.validate(json.loads(arguments.text), tools[name.name])
        num_calls += len(starts)
    assert num_calls > 0 or mode == "auto"


def test_marks_that_are_tokens_are_drawn_as_tokens() -> None:
    """The text around them may not spell them either, or a parser would take it for a call."""
    user = tokenizer().control_ids["<|user|>"]
    form = CallFormat("f", "<|user|>", '<|user|>{"name": "', '", "arguments": ', "}<|eos|>", "\n")
    spec = tool_grammar(
        ToolUse((TIME,), "auto", (TIME,)), form, tokenizer().control_ids, [{"type": "object"}]
    )
    mask = compiled(spec).fork()
    for token_id in [*tokenizer().plain_ids("a<|user"), user, *tokenizer().plain_ids('{"name": "get_time"')]:
        mask.accept(token_id)
    assert not accepts(spec, "a<|user|>b")


def test_annotations_of_schemas_take_no_room_in_the_grammar() -> None:
    schema = {
        "type": "object",
        "description": "x" * 1000,
        "properties": {"description": {"type": "string", "title": "y" * 1000, "enum": ["title"]}},
        "$defs": {"title": {"anyOf": [{"type": "null", "description": "z"}]}},
    }
    assert schema_of(schema) == {
        "type": "object",
        "properties": {"description": {"type": "string", "enum": ["title"]}},
        "$defs": {"title": {"anyOf": [{"type": "null"}]}},
    }
    assert schema_of(None)["additionalProperties"] is False
    assert Tool.of("f").parameters is None
    with pytest.raises(ValueError, match="object"):
        schema_of({"type": "array"})
