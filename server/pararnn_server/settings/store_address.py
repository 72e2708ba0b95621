"""Addresses of session stores, which may hold a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LOCAL = ("sqlite", "memory")
_EXPECTED = "write sqlite, memory, or redis://user:password@host:port/db"


def check_store(text: str) -> None:
    """Raise ValueError, without a word of the text, for what is neither a local store nor a redis address."""
    if text in _LOCAL:
        return
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    # `urlsplit` drops line feeds and tabs in silence.
    if not known or re.search(r"\s", text):
        raise ValueError(_EXPECTED)
    if "@" in parts.path + parts.query or parts.fragment or not re.fullmatch(r"/?\d*", parts.path):
        # Cut at the wrong place, a password would be shown as a host or a path.
        raise ValueError(f"{_EXPECTED}, with / ? # @ of a password as %2F %3F %23 %40")


def shown_store(text: str) -> str:
    """Return a checked store without user, password and options."""
    if text in _LOCAL:
        return text
    parts = urlsplit(text)
    # The last @: a password may hold one itself.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
