"""Replies of a random model at temperature 2 follow their grammar, alone as in a batch."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pararnn_server.engine.worker import Worker
from pararnn_server.grammars.compiler import GrammarCompiler
from pararnn_server.grammars.grammar_mask import GrammarMask
from pararnn_server.grammars.specs import Choice, JsonObject, JsonSchema, Regex, Spec
from pararnn_server.text.tokenizer import Tokenizer
from pararnn_server.text.vocabulary import Vocabulary

from pararnn_core.sampling_params import SamplingParams
from tests.server.engine_fixtures import VOCAB_SIZE, Reader, Steps, alone, assert_session_is_whole, model
from tests.server.text.tokenizer_files import Files

EOS = model().config.eos_token_id
assert EOS is not None


@cache
def tokenizer() -> Tokenizer:
    with TemporaryDirectory() as folder:
        return Tokenizer(Files(config={"eos_token": "<|eos|>"}).write(Path(folder)), VOCAB_SIZE)


@cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(tokenizer(), [EOS])


def compiled(spec: Spec) -> GrammarMask:
    return asyncio.run(compiler().compile(spec, param="p"))


def steps_with_texts(**limits: Any) -> Steps:
    """Steps whose ids have the texts of the tokenizer."""
    steps = Steps(**limits)
    vocabulary = Vocabulary.build(tokenizer().token_bytes, VOCAB_SIZE, EOS, tokenizer().special_ids)
    worker = steps.worker
    steps.worker = Worker(
        model(),
        vocabulary,
        worker._settings,
        steps.sessions,
        steps.metrics,
        steps.ended.append,
        lambda: steps.now,
    )
    return steps


def hot(seed: int, max_tokens: int, **over: Any) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, seed=seed, temperature=2.0, **over)


def plainest(prompt: list[int], params: SamplingParams, spec: Spec) -> list[int]:
    """The ids of the plainest loop, without an EOS."""
    ids = alone(model(), prompt, params, token_mask=compiled(spec))
    return ids[: ids.index(EOS)] if EOS in ids else ids


def check(schema: dict[str, Any], reader: Reader) -> None:
    """Fail unless the reply is valid, or a beginning that its grammar takes."""
    assert reader.failed is None
    if reader.finish.finish_reason == "stop":
        Draft202012Validator(schema).validate(json.loads(reader.text()))
        return
    assert reader.finish.finish_reason == "length"
    mask = compiled(JsonSchema(schema)).fork()
    for token_id in reader.ids():
        mask.accept(token_id)


NAMES = st.sampled_from(["a", "name", "\u00e9", "<|user|>", 'quoted "x"', "the"])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-99, 99),
        st.integers(0, 999),
    ),
    st.builds(lambda size: {"type": "string", "maxLength": size}, st.integers(0, 6)),
    st.builds(lambda values: {"enum": values}, st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.builds(lambda value: {"const": value}, NAMES | st.integers() | st.none() | st.booleans()),
    st.sampled_from([{"type": kind} for kind in ("boolean", "null", "number")]),
    st.just({"type": "string", "pattern": "^[ab]{1,3}$"}),
)


def _object(properties: dict[str, Any], is_required: bool) -> dict[str, Any]:
    required = [*properties] if is_required else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=3), st.booleans()),
        st.builds(
            lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3)
        ),
        st.builds(lambda schemas: {"anyOf": schemas}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


@settings(max_examples=30)
@given(
    schemas=st.lists(SCHEMAS, min_size=1, max_size=4),
    seed=st.integers(0, 99),
    max_tokens=st.integers(1, 80),
    budget=st.integers(8, 64),
    num_free=st.integers(0, 2),
)
def test_replies_are_valid_or_cut_and_do_not_depend_on_the_batch(
    schemas: list[dict[str, Any]], seed: int, max_tokens: int, budget: int, num_free: int
) -> None:
    steps = steps_with_texts(max_num_seqs=8, max_num_batched_tokens=budget)
    params = hot(seed, max_tokens)
    masked = [
        steps.add([1 + i, 9], params, token_mask=compiled(JsonSchema(schema)))[1]
        for i, schema in enumerate(schemas)
    ]
    free = [steps.add([100 + i], hot(seed, 40, ignore_eos=True))[1] for i in range(num_free)]
    steps.finish()
    for i, (schema, reader) in enumerate(zip(schemas, masked, strict=True)):
        check(schema, reader)
        assert reader.ids() == plainest([1 + i, 9], params, JsonSchema(schema))
    for i, reader in enumerate(free):
        assert reader.ids() == alone(model(), [100 + i], hot(seed, 40, ignore_eos=True))


@pytest.mark.parametrize(
    "spec", [Regex("(ab|c){3,9}-?"), Choice(["yes", "yes, the one", "no"]), JsonObject()]
)
def test_other_forms_do_not_depend_on_the_batch(spec: Spec) -> None:
    steps = steps_with_texts(max_num_seqs=8, max_num_batched_tokens=16)
    readers = [steps.add([i], hot(i, 30), token_mask=compiled(spec))[1] for i in range(12)]
    steps.finish()
    for i, reader in enumerate(readers):
        assert reader.ids() == plainest([i], hot(i, 30), spec)


def test_text_of_a_control_token_is_never_that_token() -> None:
    steps = steps_with_texts()
    _, reader = steps.add([1], hot(1, 60), token_mask=compiled(JsonSchema({"const": "a<|eos|>b<|user|>"})))
    steps.finish()
    assert reader.text() == b'"a<|eos|>b<|user|>"'
    assert not {*reader.ids()} & {*tokenizer().control_ids.values()}


def test_sessions_go_on_after_a_form() -> None:
    steps = steps_with_texts()
    session = steps.sessions.create().id
    for turn, stop in enumerate(((), ('"b',), ())):
        schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"const": "xyz"}}}
        spec = JsonSchema({**schema, "required": ["a", "b"], "additionalProperties": False})
        _, reader = steps.add([turn], hot(turn, 99, stop=stop), session_id=session, token_mask=compiled(spec))
        steps.finish()
        assert reader.failed is None
        assert_session_is_whole(steps.sessions, session, model())
