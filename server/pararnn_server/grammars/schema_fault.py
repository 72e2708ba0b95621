"""The place in a schema of what is not supported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

# One by one these are compiled again.
MAX_TRIALS = 200

_MAPPINGS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)


def place_of_fault(
    schema: Mapping[str, Any], message: str, fault_of: Callable[[Mapping[str, Any]], str]
) -> str:
    """Return the path of the innermost schema that alone has the same fault, "" for the whole.

    message: the fault of the whole schema. fault_of: compiles a schema and returns its fault.
    """
    definitions = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    path, trials = "", 0
    inner: Mapping[str, Any] | None = schema
    while inner is not None:
        outer, inner = inner, None
        for place, part in _parts(outer):
            if trials == MAX_TRIALS:
                return path
            trials += 1
            if fault_of({**definitions, **part}) == message:
                path, inner = f"{path}.{place}", part
                break
    return path


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schemas directly inside of one, with their places."""
    for name, value in schema.items():
        if name in _MAPPINGS and isinstance(value, dict):
            members: list[tuple[str, object]] = [(f"{name}.{key}", part) for key, part in value.items()]
        elif name in _LISTS and isinstance(value, list):
            members = [(f"{name}.{i}", part) for i, part in enumerate(value)]
        else:
            members = [(name, value)] if name in _SINGLE else []
        yield from ((place, part) for place, part in members if isinstance(part, dict))
