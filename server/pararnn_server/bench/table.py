"""Figures as rows of text, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pararnn_server.bench.measure import Figure, Limits
from pararnn_server.bench.timing import Spread
from pararnn_server.metrics.units import as_bytes

HEADINGS = (
    "model",
    "read per step",
    "threads",
    "test",
    "tokens/s",
    "least to greatest",
    "limit",
    "share",
    "limited by",
)
LIMIT_HEADINGS = ("limit of the machine", "threads", "median", "least to greatest")
NUMERIC = frozenset({"read per step", "threads", "tokens/s", "limit", "share", "median"})


def figure_row(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure in the order of HEADINGS."""
    speed = figure.tokens_per_second
    return (
        figure.label,
        as_bytes(figure.decode_bytes),
        str(figure.threads),
        figure.test,
        number(speed.median),
        f"{number(speed.low)} to {number(speed.high)}",
        "" if figure.limit is None else number(figure.limit),
        "" if figure.share is None else f"{figure.share:.0%}",
        figure.limited_by,
    )


def limit_rows(limits: Iterable[Limits]) -> list[tuple[str, ...]]:
    """Return the rows of limits in the order of LIMIT_HEADINGS."""
    rows: list[tuple[str, ...]] = []
    for each in limits:
        rows += [
            (f"reading as {label} does", str(each.threads), *_scaled(spread, "GB/s"))
            for label, spread in each.bandwidth.items()
        ]
        rows += [
            (f"{unit} multiply-adds", str(each.threads), *_scaled(spread, "Gop/s"))
            for unit, spread in each.operations.items()
        ]
    return rows


def number(value: float) -> str:
    """Three digits or more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns are padded, so that it reads as text too."""
    widths = [max(len(row[column]) for row in (headings, *body)) for column in range(len(headings))]
    lines = [headings, tuple("-" * width for width in widths), *body]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _scaled(spread: Spread, unit: str) -> tuple[str, str]:
    return (
        f"{number(spread.median / 1e9)} {unit}",
        f"{number(spread.low / 1e9)} to {number(spread.high / 1e9)}",
    )
