"""Numbers as people read them."""

from __future__ import annotations

from datetime import datetime, timezone


def as_bytes(count: int) -> str:
    """1536 -> "1.5 KiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def as_time(seconds: float | None) -> str:
    """0 -> "1970-01-01 00:00:00+00:00", None -> "never"."""
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="seconds")


def as_count(count: int) -> str:
    """25165824 -> "25.2 M"."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)
