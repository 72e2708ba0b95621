"""Messages of llguidance, for clients."""

from __future__ import annotations

MAX_CHARS = 300


def plain(message: str) -> str:
    """Return the first lines of a message, without what llguidance adds for its own developers."""
    text = message.split("\n<state>")[0].split("\n<non-verbose/>")[0].strip().removesuffix(".")
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."
