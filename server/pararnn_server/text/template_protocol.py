"""Kinds of answers of the process that renders chat templates."""

from __future__ import annotations

from typing import Final

RENDERED: Final = b"t"
REFUSED: Final = b"r"
BROKEN: Final = b"b"
TOO_LONG: Final = b"l"
LENGTH_BYTES: Final = 8
