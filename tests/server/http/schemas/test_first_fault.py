"""A wrong body costs no more than reading it: bodies of 1 MiB of wrong entries, made from /openapi.json."""

from __future__ import annotations

import gc
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.app.app import ROUTERS
from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import BodyLimits, parse_body
from pararnn_server.http.openapi import declared_models
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.settings.server_settings import Settings
from pydantic_core import from_json

from tests.server.http_server import HttpServer

SIZE = 1 << 20
CPU_SECONDS = 0.050
MEMORY = 64 << 20
LIMITS = BodyLimits.of(Settings())
WRONG_ENTRIES = ("1.5", "true", '"\\u0000"', "null", "[]", "{}", '{"a":1}', "[[[]]]", '["a"]')
BODIES = {model.__name__: model for model in declared_models(ROUTERS) if issubclass(model, RequestBody)}
Wrap = Callable[[str], str]


@pytest.fixture(autouse=True)
def _only_own_garbage() -> Iterator[None]:
    """Keep the objects of all earlier tests out of the collections that parsing sets off."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def identity(inner: str) -> str:
    return inner


class Schemas:
    """Finds every list and every mapping of a body; yields what to write around it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._named = document["components"]["schemas"]
        self.seen: set[str] = set()

    def body(self, name: str) -> Iterator[tuple[str, str, Wrap]]:
        yield from self._walk({"$ref": f"#/components/schemas/{name}"}, name, identity)

    def _walk(self, schema: dict[str, Any], where: str, around: Wrap) -> Iterator[tuple[str, str, Wrap]]:
        if "$ref" in schema:
            schema = self._named[schema["$ref"].rsplit("/", 1)[1]]
        if schema.get("type") in ("array", "object"):
            if json.dumps(schema) in self.seen:
                return
            self.seen.add(json.dumps(schema))
        for kind in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from self._walk(kind, where, around)
        if schema.get("type") == "array":
            yield where, "list", around
            entry = schema.get("items", {})
            yield from self._walk(entry, f"{where}[]", lambda inner: around(f"[{inner}]"))
        elif schema.get("type") == "object":
            yield where, "mapping", around
            for name, field in schema.get("properties", {}).items():
                fixed = self._fixed(schema, name)
                yield from self._walk(
                    field,
                    f"{where}.{name}",
                    lambda inner, n=name, f=fixed: around(f'{{{f}"{n}":{inner}}}'),
                )

    def _fixed(self, schema: dict[str, Any], beside: str) -> str:
        """Fields that have one value, which may decide how the others are read."""
        constants = {
            name: field.get("const", (field.get("enum") or [None])[0])
            for name, field in schema["properties"].items()
            if name != beside and ("const" in field or "enum" in field)
        }
        return "".join(f'"{name}":{json.dumps(value)},' for name, value in constants.items())


@cache
def list_of(entry: str, first: str = "") -> str:
    return "[" + ",".join([*([first] if first else []), *[entry] * (SIZE // (len(entry) + 1))]) + "]"


@cache
def mapping_of(entry: str) -> str:
    keys = (f'"k{i}":{entry}' for i in range(SIZE // (len(entry) + 10)))
    return "{" + ",".join(keys) + "}"


def reading_seconds(raw: bytes) -> float:
    """CPU seconds of this thread that the JSON parser alone takes."""
    began = time.thread_time()
    with suppress(ValueError):
        from_json(raw)
    return time.thread_time() - began


def cost(raw: bytes, schema: type[RequestBody]) -> tuple[float, int]:
    """CPU seconds and bytes of memory, the best of up to three tries. A slow machine may read twice more."""
    seconds, memory = float("inf"), 1 << 62
    for _ in range(3):
        held = _resident("VmRSS", reset=True)
        began = time.thread_time()
        with suppress(BadRequest):
            parse_body(raw, schema, LIMITS)
        spent = time.thread_time() - began
        if spent >= CPU_SECONDS:
            spent -= 2 * reading_seconds(raw)
        seconds = min(seconds, spent)
        memory = min(memory, _resident("VmHWM") - held)
        if seconds < CPU_SECONDS and memory < MEMORY:
            break
    return seconds, memory


def _resident(field: str, *, reset: bool = False) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"^{field}:\s+(\d+) kB", status.read_text(), re.M)
    return int(found[1]) << 10 if found else 0


def assert_cheap(name: str, where: str, raw: bytes) -> None:
    seconds, memory = cost(raw, BODIES[name])
    assert seconds < CPU_SECONDS, f"{where}: {seconds * 1e3:.0f} ms, {raw[:60]!r}"
    assert memory < MEMORY, f"{where}: {memory >> 20} MiB, {raw[:60]!r}"


def test_a_mebibyte_of_wrong_entries_costs_what_reading_it_costs(server: HttpServer) -> None:
    """Every list and mapping of every body once, however many bodies share it."""
    schemas = Schemas(server.get("/openapi.json").json())
    entries = itertools.cycle(WRONG_ENTRIES)
    for name in sorted(BODIES):
        for where, kind, around in schemas.body(name):
            make = list_of if kind == "list" else mapping_of
            assert_cheap(name, where, around(make(next(entries))).encode())
    assert len(schemas.seen) > 20


@pytest.mark.parametrize(("first", "entry"), [("1", '"a"'), ('"a"', "1"), ("[1]", "1"), ("[[]]", "[]")])
def test_a_prompt_that_changes_its_kind_costs_what_reading_it_costs(first: str, entry: str) -> None:
    assert_cheap("CompletionRequest", "prompt", f'{{"prompt":{list_of(entry, first)}}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        '{"seed":' + "9" * SIZE + "}",
        '{"temperature":1.' + "9" * SIZE + "}",
        '{"temperature":1e' + "9" * SIZE + "}",
        '{"temperature":-' + "0" * SIZE + "}",
        '{"' + "k" * SIZE + '":1}',
        '{"' + "\\u00e9" * (SIZE // 6) + '":1}',
        "{" + ",".join(['"seed":1.5'] * (SIZE // 11)) + "}",
        "{" + ",".join(['"unknown":1'] * (SIZE // 12)) + "}",
        '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6),
        '{"messages":' + list_of('{"a":' * 150 + "1" + "}" * 150) + "}",
        "[" * SIZE,
        '"' + "\\" * SIZE,
    ],
    ids=lambda body: body[:16],
)
def test_strange_json_costs_what_reading_it_costs(body: str) -> None:
    """Huge numbers, huge keys, names that come again, deep nesting, strings that never end."""
    assert_cheap("ChatRequest", body[:16], body.encode())


def test_every_list_and_mapping_stops_at_its_first_fault() -> None:
    """The validators themselves, so that no list is forgotten for which no wrong entry above is slow."""
    for name, model in BODIES.items():
        for schema in _nodes(model.__pydantic_core_schema__):
            if schema.get("type") == "list":
                assert schema.get("fail_fast"), f"{name}: {schema} needs FirstFault()"
            if schema.get("type") == "dict":
                assert "max_length" in schema, f"{name}: {schema} needs Mapping(...)"


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value
        for name, entry in value.items():
            if name != "metadata":
                yield from _nodes(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _nodes(entry)


def test_the_first_wrong_entry_is_named() -> None:
    entries = {str(i): 1.0 for i in range(500)} | {"x": 1.0, "y": 1.0}
    assert _fault("CompletionRequest", {"prompt": "a", "logit_bias": entries}) == "logit_bias.x"
    assert _fault("CompletionRequest", {"prompt": [1, 2, "a", "b"]}) == "prompt.2"
    assert _fault("ChatRequest", {"messages": [{"role": "user", "content": "a"}, 1, 2]}) == "messages.1"
    metadata = {str(i): "v" for i in range(17)}
    assert _fault("CompletionRequest", {"prompt": "a", "metadata": metadata}) == "metadata"


def _fault(name: str, body: dict[str, Any]) -> str | None:
    with pytest.raises(BadRequest) as caught:
        parse_body(json.dumps(body).encode(), BODIES[name], LIMITS)
    return caught.value.param


def test_a_long_mapping_is_read_like_a_short_one() -> None:
    entries = {str(i): i / 50 for i in range(4096)}
    body = json.dumps({"prompt": "a", "logit_bias": entries}).encode()
    parsed = parse_body(body, BODIES["CompletionRequest"], LIMITS)
    assert parsed.model_dump()["logit_bias"] == entries
