"""Messages of llguidance, in the words of this server."""

from __future__ import annotations

import re

MAX_CHARS = 300

_REWORDED = (
    (re.compile(r"Unimplemented keys: \[(.*?)\].*", re.DOTALL), r"not supported: \1"),
    (re.compile(r"Unknown format: (.*)", re.DOTALL), r'the format "\1" is not supported'),
    (
        re.compile(r"Resource '(.*?)' is not present .*", re.DOTALL),
        r"\1 is another document; references must stay within the schema",
    ),
    (
        re.compile(r"oneOf constraints are not supported.*", re.DOTALL),
        "oneOf is supported only where at most one of its schemas can hold; send anyOf",
    ),
)


def plain(message: str) -> str:
    """Return a message of llguidance without what it adds for its own developers."""
    text = message.split("\n<state>")[0].split("\n<non-verbose/>")[0].split("\n  while processing")[0]
    for pattern, words in _REWORDED:
        text = pattern.sub(words, text)
    text = text.strip().removesuffix(".")
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."
