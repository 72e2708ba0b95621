"""A grammar that is huge, or made to take long, costs bounded time and memory."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.compiler import GrammarLimits
from pararnn_server.grammars.grammar_cache import BYTES_PER_SECOND
from pararnn_server.grammars.grammar_mask import FORCED_AT_ONCE, GrammarMask
from pararnn_server.grammars.specs import Choice, JsonSchema, Lark, Regex, Spec

from tests.server.grammars.grammar_fixtures import allowed_ids, compiled, new_compiler, refusal, walk

SECONDS = 10.0
"""CPU time. The longest takes half a second on one core; without limits some would take hours."""


def nested(depth: int, opening: Any, closing: Any) -> Any:
    value: Any = closing
    for _ in range(depth):
        value = opening(value)
    return value


HUGE: dict[str, Spec] = {
    "10,000 nested anyOf": JsonSchema(nested(10_000, lambda inner: {"anyOf": [inner]}, {})),
    "10,000 nested arrays": JsonSchema(nested(10_000, lambda inner: {"items": inner}, {})),
    "an enum of 100,000": JsonSchema({"enum": [f"value {i}" for i in range(100_000)]}),
    "an enum of one huge text": JsonSchema({"enum": ["x" * 10_000_000]}),
    "100,000 properties": JsonSchema({"properties": {f"p{i}": {} for i in range(100_000)}}),
    "2,500 properties": JsonSchema({"properties": {f"p{i}": {} for i in range(2_500)}}),
    "a large multiple": JsonSchema({"multipleOf": 99_999_989}),
    "a small multiple": JsonSchema({"multipleOf": 1e-300}),
    "a multiple in exact decimals": JsonSchema({"multipleOf": 1.000000007}),
    "multiples without common factors": JsonSchema({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}),
    "a hundred multiples": JsonSchema({"items": [{"multipleOf": 997} for _ in range(100)]}),
    "a large multiple in a grammar": Lark('start: %json  { "multipleOf": 99999989 }'),
    "an escaped multiple in a grammar": Lark('start: %json {"multiple\\u004ff": 99999989}'),
    "100,000 choices": Choice([f"text {i}" for i in range(100_000)]),
    "a huge regex": Regex("|".join(f"w{i}" for i in range(50_000))),
    "a huge grammar": Lark("start: " + " | ".join(f'"w{i}"' for i in range(50_000))),
    "10,000 parentheses": Regex("(" * 10_000 + "a" + ")" * 10_000),
    "10,000 parentheses in a grammar": Lark("start: " + "(" * 10_000 + '"a"' + ")" * 10_000),
    "products of alternatives": JsonSchema(
        {"allOf": [{"anyOf": [{"properties": {f"{i} {j}": {}}} for j in range(4)]} for i in range(20)]}
    ),
    "an intersection of exponential patterns": JsonSchema(
        {"allOf": [{"type": "string", "pattern": f"^(a|b)*a(a|b){{{i}}}$"} for i in range(15, 30)]}
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_grammar_is_refused_in_bounded_time(name: str) -> None:
    began = time.process_time()
    assert isinstance(refusal(HUGE[name]), BadRequest)
    assert time.process_time() - began < SECONDS


HOSTILE: dict[str, Spec] = {
    "millions of repetitions": Regex("a{1000000}"),
    "billions of repetitions": Regex("((a{1,1000}){1,1000}){1,1000}"),
    "an exponential automaton": Regex("(a|b)*a(a|b){30}"),
    "nested stars": Regex("((a+)+)+b"),
    "wide classes": Regex("(\\w{1,200}\\W{1,200}){1,50}"),
    "a long text": JsonSchema({"type": "string", "minLength": 10**9}),
    "many items": JsonSchema({"type": "array", "minItems": 10**6}),
    "many properties": JsonSchema({"type": "object", "minProperties": 10**6}),
    "a circle of references": JsonSchema({"$ref": "#"}),
    "references that double": JsonSchema(
        {
            "$ref": "#/$defs/0",
            "$defs": {
                **{str(i): {"prefixItems": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(30)},
                "30": {"type": "string"},
            },
        }
    ),
    "an ambiguous grammar": Lark('start: start start | "a"'),
    "a grammar of nothing": Lark('start: a*\na: "x"* b*\nb: "x"? a?'),
    "exclusions": Lark("start: T\nT: " + " & ".join(f"~/(?s:.*)a{{{i}}}b(?s:.*)/" for i in range(1, 60))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_followed_or_given_up_in_bounded_time(name: str) -> None:
    began = time.process_time()
    with suppress(BadRequest):
        compiled(HOSTILE[name])
        walk(HOSTILE[name], 1, 40)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "spec",
    [
        JsonSchema({"$ref": "#"}),
        JsonSchema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        Lark("start: start"),
        Regex("[^\\x00-\\x{10FFFF}]"),
    ],
)
def test_a_form_without_any_text_is_not_called_too_complex(spec: Spec) -> None:
    with pytest.raises(BadRequest, match="no text has this form") as caught:
        walk(spec, 1, 10)
    assert (caught.value.code, caught.value.param) == ("unsupported_grammar", "p")


def test_a_grammar_that_is_given_up_is_not_kept() -> None:
    """Its lexer may have grown to tens of megabytes in a moment."""
    ours, spec = new_compiler(), Regex("[^\\x00-\\x{10FFFF}]")
    first, second = (asyncio.run(ours.compile(spec, param="p")) for _ in range(2))
    assert second._grammar.matcher is first._grammar.matcher
    [error] = GrammarMask.allowed_of([second.fork()])
    assert isinstance(error, BadRequest)
    assert asyncio.run(ours.compile(spec, param="p"))._grammar.matcher is not first._grammar.matcher


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_grammars_that_grow_while_they_are_followed_stay_within_the_cache() -> None:
    """Each takes 8 MB, just below the limit at which it would be given up: 40 would take 300 MB."""
    budget = 32 << 20
    ours = new_compiler(GrammarLimits(cache_bytes_per_key=budget))
    before = resident_bytes()
    for number in range(40):
        spec = Regex(f"(\\w{{1,180}}\\W{{1,180}}){{1,{50 + number}}}")
        mask = asyncio.run(ours.compile(spec, param="p")).fork()
        with suppress(BadRequest):
            for _ in range(60):
                mask.accept(random.Random(number).choice(allowed_ids(mask)))
        assert ours.cached_bytes("") <= budget
    assert resident_bytes() - before < 3 * budget


def test_a_grammar_that_outgrows_the_cache_is_compiled_again() -> None:
    ours, spec = new_compiler(GrammarLimits(cache_bytes_per_key=1 << 20)), Regex("a*")
    first = asyncio.run(ours.compile(spec, param="p"))
    first._grammar.grow(1.0)
    assert ours.cached_bytes("") == 0
    second = asyncio.run(ours.compile(spec, param="p"))
    assert second._grammar.matcher is not first._grammar.matcher
    held = ours.cached_bytes("")
    first._grammar.grow(1.0)
    first._grammar.drop()
    assert ours.cached_bytes("") == held > 0


def test_replies_that_share_a_grammar_count_its_growth_once() -> None:
    ours, spec = new_compiler(GrammarLimits(cache_bytes_per_key=1 << 40)), Regex("a*")
    masks = [asyncio.run(ours.compile(spec, param="p")).fork() for _ in range(50)]
    began, held = time.perf_counter(), ours.cached_bytes("")
    GrammarMask.allowed_of(masks)
    assert ours.cached_bytes("") - held <= (time.perf_counter() - began) * BYTES_PER_SECOND


def test_a_long_text_at_the_start_is_found_before_the_engine_asks_for_it() -> None:
    """60 KB take 160 ms, for which every other reply would wait."""
    mask = compiled(JsonSchema({"const": "one of them " * 5000}))
    copy = mask.fork()
    with patch.object(mask._grammar.cache, "grow") as found:
        while ids := copy.forced():
            assert len(ids) <= FORCED_AT_ONCE
        assert copy.is_complete
        # Nothing was left to find but the end.
        assert found.call_count <= 1
    assert mask.fork().forced()


def test_the_limit_of_bytes_is_named() -> None:
    error = refusal(Regex("a" * 2000), GrammarLimits(max_bytes=1024))
    assert error.message == "p: takes more than 1024 bytes (max_grammar_bytes); make it smaller."
