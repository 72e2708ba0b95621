"""Checks of one client, run in its own environment: nothing but the standard library is imported here.

A script of a client imports this module, marks its functions with `check`, and ends with `run()`.
"""

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

URL = os.environ["SERVER_URL"]
BASE_URL = f"{URL}/v1"
LIMITED_URL = os.environ["LIMITED_URL"]
KEY = os.environ["SERVER_KEY"]
MODEL = os.environ["SERVER_MODEL"]
WRONG_KEY = "k" * 19 + "x"

QUESTION = "What time is it in Bern?"
LOOKING = "Let me look."
RESULT = "12:00"
ANSWER = "It is noon."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Bern", "Oslo"]}, "utc": {"type": "boolean"}},
    "required": ["city", "utc"],
    "additionalProperties": False,
}

_checks: list[tuple[str, str, Callable[[], Any]]] = []


def check(feature: str, call: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Add a function to the checks of a feature. call: what it calls, as the client's users write it."""

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        _checks.append((feature, call, function))
        return function

    return add


def run() -> None:
    """Run all checks, or those that the script's argument names; print a line of JSON for each."""
    # One loop for all: clients close their connections late.
    loop = asyncio.new_event_loop()
    for feature, call, function in _checks:
        if len(sys.argv) > 1 and sys.argv[1] not in f"{feature} {call}":
            continue
        error = None
        try:
            outcome = function()
            if inspect.isawaitable(outcome):
                loop.run_until_complete(outcome)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"feature": feature, "call": call, "error": error}), flush=True)


def same(found: Any, wanted: Any) -> None:
    """Compare, and show both where they differ."""
    assert found == wanted, f"{found!r} is not {wanted!r}"


def in_pieces(pieces: list[str], text: str = ANSWER) -> None:
    """Compare the text of a stream that must have more than one piece."""
    same("".join(pieces), text)
    assert len([piece for piece in pieces if piece]) > 1, f"one piece: {pieces}"


def is_clock(value: Any) -> None:
    """Check an object of SCHEMA, or arguments of the tool; JSON text is parsed first."""
    value = json.loads(value) if isinstance(value, str) else value
    value = value if isinstance(value, dict) else vars(value)
    assert value["city"] in ("Bern", "Oslo"), value
    assert isinstance(value["utc"], bool), value


@contextmanager
def raises(kind: type[Exception], status: int | None = None) -> Iterator[None]:
    """Expect an exception of this class, and of this status if it carries one."""
    try:
        yield
    except kind as error:
        if status is not None:
            same(getattr(error, "status_code", status), status)
        return
    raise AssertionError(f"no {kind.__name__} was raised")


def beyond_limit(call: Callable[[], Any]) -> None:
    """Call more often than the limited server allows in a minute."""
    for _ in range(3):
        call()
