"""Grammars are compiled to masks that allow their texts and no others, or are refused with a reason."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from jsonschema import Draft202012Validator
from pararnn_server.concurrency.fair_threads import current_key
from pararnn_server.grammars.compiler import GrammarLimits
from pararnn_server.grammars.specs import Choice, JsonObject, JsonSchema, Lark, Regex, lark_json, lark_token

from tests.server.grammars.grammar_fixtures import (
    EOS,
    accepts,
    allowed_ids,
    compiled,
    compiler,
    new_compiler,
    refusal,
    tokenizer,
    walk,
)
from tests.server.text.tokenizer_files import IDS

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        "next": {"$ref": "#/$defs/link"},
    },
    "required": ["name", "age", "tags", "next"],
    "additionalProperties": False,
    "$defs": {"link": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}},
}


@pytest.mark.parametrize("seed", range(20))
def test_a_random_reply_that_ends_is_valid_by_its_schema(seed: int) -> None:
    text, has_ended = walk(JsonSchema(PERSON), seed, 300)
    assert has_ended
    Draft202012Validator(PERSON).validate(json.loads(text))


def test_json_has_one_layout() -> None:
    person = {"name": "x", "age": 7, "tags": ["a", "b"], "next": None}
    assert accepts(JsonSchema(PERSON), json.dumps(person))
    assert not accepts(JsonSchema(PERSON), json.dumps(person, indent=1))
    assert accepts(JsonObject(), '{"a": [1, {"b": null}], "c": ""}')
    assert not accepts(JsonObject(), "[1]")


def test_a_regex_matches_the_whole_reply() -> None:
    assert accepts(Regex("[a-c]{2}/\\d"), "ab/7")
    assert not accepts(Regex("[a-c]{2}/\\d"), "ab/7x")
    for seed in range(5):
        text, has_ended = walk(Regex("(ab|c){1,9}"), seed, 50)
        assert has_ended
        assert re.fullmatch("(ab|c){1,9}", text.decode())


TEXTS = ["yes", "yes, really", "", 'a "quoted" \\ line\n', "é\u0301 \u20ac", "<|eos|>", "\x00"]


def test_a_choice_is_one_of_its_texts() -> None:
    for text in TEXTS:
        assert accepts(Choice(TEXTS), text)
    assert not accepts(Choice(TEXTS), "yes,")
    assert {walk(Choice(TEXTS), seed, 99)[0].decode() for seed in range(50)} <= set(TEXTS)


def test_a_lark_grammar_may_hold_schemas_and_tokens() -> None:
    grammar = f"start: {lark_token(IDS['<|user|>'])} call\ncall: {lark_json({'const': {'a': [1, 2]}})}"
    mask = compiled(Lark(grammar)).fork()
    assert allowed_ids(mask) == [IDS["<|user|>"]]
    mask.accept(IDS["<|user|>"])
    for token_id in tokenizer().plain_ids('{"a": [1, 2]}'):
        mask.accept(token_id)
    assert allowed_ids(mask) == [EOS]


@pytest.mark.parametrize("spec", [Regex("(?s:.*)"), JsonObject(), Lark('start: /[^"]*/')])
def test_no_control_token_is_part_of_a_text(spec: Regex) -> None:
    assert {*IDS.values()} & {*allowed_ids(compiled(spec))} <= {EOS}


def test_a_mask_moves_on_without_the_one_it_was_forked_from() -> None:
    mask = compiled(Choice(["ab", "b"]))
    [a], [b] = map(tokenizer().plain_ids, "ab")
    first, second = mask.fork(), mask.fork()
    first.accept(a)
    assert allowed_ids(first) == [b]
    second.accept(b)
    assert allowed_ids(second) == [EOS]
    assert {*allowed_ids(mask)} == {a, b}


FAULTS = {
    "a keyword that is not supported": (
        JsonSchema({"properties": {"a": {"items": {"not": {"type": "string"}}}}}),
        "p.properties.a.items",
    ),
    "a definition that is not supported": (
        JsonSchema({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{}, {"if": {}}]}}}),
        "p.$defs.a.anyOf.1",
    ),
    "a format that is not known": (JsonSchema({"items": [{"format": "poem"}]}), "p.items.0"),
    "a pattern with a lookahead": (JsonSchema({"pattern": "(?=a)b"}), "p"),
    "a type that is none": (JsonSchema({"properties": {"x": {"type": "text"}}}), "p.properties.x"),
    "a reference to another document": (JsonSchema({"$ref": "https://example.com/a.json"}), "p"),
    "a reference to a file": (JsonSchema({"$ref": "file:///etc/passwd"}), "p"),
    "a reference to nothing": (JsonSchema({"items": {"$ref": "#/$defs/none"}}), "p.items"),
    "a circle of references": (
        JsonSchema(
            {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"minLength": 1}]}}}
        ),
        "p.$defs.a.allOf.0",
    ),
    "a schema that nothing satisfies": (JsonSchema({"type": "integer", "minimum": 2, "maximum": 1}), "p"),
    "a layout of one's own": (JsonSchema({"x-guidance": {"lenient": True}}), "p"),
    "a regex that is none": (Regex("(a"), "p"),
    "a grammar without a start": (Lark('a: "x"'), "p"),
    "a grammar that is none": (Lark("start: ("), "p"),
    "a choice of nothing": (Choice([]), "p"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_supported_is_refused_by_its_place(name: str) -> None:
    spec, place = FAULTS[name]
    error = refusal(spec)
    assert error.param == place
    assert error.message.startswith(place)
    assert len(error.message) < 500
    assert "<state>" not in error.message


def test_keys_do_not_notice_the_grammars_of_others() -> None:
    limits = GrammarLimits(cache_bytes_per_key=1 << 20)
    shared = new_compiler(limits)

    async def matcher(key: str, text: str) -> object:
        current_key.set(key)
        return (await shared.compile(Choice([text]), param="p"))._grammar.matcher

    async def scenario() -> None:
        mine = await matcher("me", "a")
        assert await matcher("me", "a") is mine
        assert await matcher("other", "a") is not mine
        for i in range(100):
            await matcher("other", f"text {i}")
        assert await matcher("me", "a") is mine
        for i in range(100):
            await matcher("me", f"text {i}")
        assert await matcher("me", "a") is not mine

    asyncio.run(scenario())


def test_a_large_grammar_is_not_kept() -> None:
    none = new_compiler(GrammarLimits(cache_bytes_per_key=0))
    first, second = (asyncio.run(none.compile(Choice(["a"]), param="p")) for _ in range(2))
    assert first._grammar.matcher is not second._grammar.matcher
    assert compiler() is compiler()
