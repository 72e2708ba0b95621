"""Limits of what a schema may ask for: those that llguidance does not set itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal

from pararnn_server.errors import BadRequest

# llguidance refuses what is nested deeper than 128, counting two levels around the schema.
MAX_DEPTH = 100
# Compiling takes time with the square of the properties of an object.
MAX_PROPERTIES = 2000
# The automaton of a multiple has as many states as the number.
MAX_MULTIPLE = 10_000

_MULTIPLE = "multipleOf"


def check_schema(schema: object, max_bytes: int, param: str) -> None:
    """Raise BadRequest, which names the place, for a schema that would take too much to compile.

    max_bytes: of its JSON, about.
    """
    multiples: list[Decimal] = []
    num_bytes = num_properties = 0
    for place, value in _members(schema, param):
        num_bytes += _own_bytes(value)
        check_size(num_bytes, max_bytes, param)
        if not isinstance(value, dict):
            continue
        if "x-guidance" in value:
            raise BadRequest(f"{place}.x-guidance: not accepted; leave it out.", param=param)
        if isinstance(properties := value.get("properties"), dict):
            num_properties += len(properties)
        if num_properties > MAX_PROPERTIES:
            message = f"{place}: more than {MAX_PROPERTIES} properties in the whole schema; leave some out."
            raise BadRequest(message, param=param)
        if _MULTIPLE in value:
            multiples.append(_decimal(value[_MULTIPLE], f"{place}.{_MULTIPLE}", param))
            _check_multiples(multiples, f"{place}.{_MULTIPLE}", param)


def check_lark(grammar: str, max_bytes: int, param: str) -> None:
    """Check a Lark grammar and the schemas inside it. Raises BadRequest."""
    check_size(len(grammar), max_bytes, param)
    for piece in grammar.split("%json")[1:]:
        start = piece.find("{")
        try:
            schema, _ = json.JSONDecoder().raw_decode(piece, start) if start >= 0 else (None, 0)
        except (ValueError, RecursionError):
            # llguidance says where it is wrong.
            continue
        if isinstance(schema, dict):
            # The layout is ours, where it comes from `lark_json`.
            schema.pop("x-guidance", None)
        check_schema(schema, max_bytes, param)


def check_size(num_bytes: int, max_bytes: int, param: str) -> None:
    """Raise BadRequest for a grammar that is larger than the limit."""
    if num_bytes > max_bytes:
        message = f"{param}: takes more than {max_bytes} bytes (max_grammar_bytes); make it smaller."
        raise BadRequest(message, param=param)


def _members(schema: object, param: str) -> Iterator[tuple[str, object]]:
    """Yield every value in a JSON value with its place. Raises BadRequest if they are nested too deep."""
    # A stack of its own: a nested schema must not use up Python's.
    stack: list[tuple[str, object, int]] = [(param, schema, 1)]
    while stack:
        place, value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise BadRequest(f"{param}: nested deeper than {MAX_DEPTH} levels; flatten it.", param=param)
        yield place, value
        if isinstance(value, dict):
            stack += [(f"{place}.{name}", member, depth + 1) for name, member in value.items()]
        elif isinstance(value, list):
            stack += [(f"{place}.{i}", member, depth + 1) for i, member in enumerate(value)]


def _own_bytes(value: object) -> int:
    """Return about the bytes of a value in JSON, of an object those of its names."""
    if isinstance(value, dict):
        return 2 + sum(len(name) + 4 for name in value)
    return len(value) + 4 if isinstance(value, (str, list)) else 4


def _decimal(value: object, place: str, param: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e-15 <= value <= 1e15:
        raise BadRequest(f"{place}: must be a number from 1e-15 to 1e15.", param=param)
    return Decimal(repr(value))


def _check_multiples(multiples: list[Decimal], place: str, param: str) -> None:
    """Raise BadRequest if the common multiple of all is too large, in units of their last decimal."""
    exponents = (int(number.normalize().as_tuple().exponent) for number in multiples)
    unit = Decimal(10) ** min(0, *exponents)
    whole = [int(number / unit) for number in multiples]
    # Any two may have to hold for one number.
    if math.lcm(*whole) > MAX_MULTIPLE or sum(whole) > 2 * MAX_MULTIPLE:
        message = (
            f"{place}: the numbers of all multipleOf have a common multiple above {MAX_MULTIPLE}, in units of"
            " their last decimal place; leave some out."
        )
        raise BadRequest(message, param=param)
