"""Compare a reply in a document, shortened by `...`, with the real one: keys and types, not values."""

from __future__ import annotations

import json
import re
from typing import Any

_STRING_OR_GAP = re.compile(r'("(?:[^"\\]|\\.)*")|,\s*\.\.\.|\.\.\.\s*,?')
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|\b[0-9a-f]{16,}\b")


def json_values(text: str) -> list[Any]:
    """Return the JSON values of a text, one after the other. A `...` outside of strings is left out."""
    rest = _STRING_OR_GAP.sub(lambda found: found[1] or "", text).strip()
    decoder, values = json.JSONDecoder(), []
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].lstrip()
    return values


def difference(shown: Any, real: Any, place: str = "reply") -> str | None:
    """Return the place of a shown key, item or type that the real value lacks; None if there is none."""
    if _kind(shown) != _kind(real):
        return f"{place} is shown as {shown!r}, and was {real!r:.200}"
    if isinstance(shown, dict):
        missing = shown.keys() - real.keys()
        if missing:
            return f"{place} is shown with {sorted(missing)}, and had only {sorted(real)}"
        parts = [(f"{place}.{key}", value, real[key]) for key, value in shown.items()]
    elif isinstance(shown, list):
        if len(shown) > len(real):
            return f"{place} is shown with {len(shown)} items, and had {len(real)}"
        parts = [(f"{place}[{i}]", value, real[i]) for i, value in enumerate(shown)]
    else:
        return None
    return next(filter(None, (difference(value, true, name) for name, value, true in parts)), None)


def text_difference(shown: str, real: str) -> str | None:
    """Compare line by line, in order: events by their JSON, other lines without numbers and ids."""
    lines = iter(real.splitlines())
    for line in shown.splitlines():
        if line.strip() in ("", "..."):
            continue
        if not any(_alike(line, other) for other in lines):
            return f"no line like {line!r}, at its place, in:\n{real}"
    return None


def _alike(shown: str, real: str) -> bool:
    if shown.startswith("data: {"):
        if not real.startswith("data: {"):
            return False
        events = (json_values(line.removeprefix("data: "))[0] for line in (shown, real))
        return difference(*events) is None
    pattern = ".*".join(re.escape(_NUMBER.sub("#", part)) for part in shown.rstrip().split("..."))
    return re.fullmatch(pattern, _NUMBER.sub("#", real.rstrip())) is not None


def _kind(value: Any) -> str:
    """Return the JSON type: true and false are none of numbers."""
    if isinstance(value, bool) or value is None:
        return repr(type(value))
    return "number" if isinstance(value, (int, float)) else type(value).__name__
