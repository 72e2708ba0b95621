"""Results -> rows of one table, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.breakdown import NOT_MATRIX
from benchmarks.machine import Machine
from benchmarks.serving import ServingFigures
from benchmarks.timing import Spread

HEADINGS = (
    "model",
    "measured",
    "tokens/s",
    "least to greatest",
    "limit, tokens/s",
    "share",
    "the limit is",
    "first token p50 / p99 ms",
    "between p50 / p99 ms",
)


@dataclass(frozen=True)
class CoreFigure:
    """tokens_per_second of the model alone, beside the most that the named limit allows."""

    measured: str
    tokens_per_second: Spread
    limit: float
    limited_by: str


@dataclass(frozen=True)
class SubjectResult:
    """Everything measured of one model. read_bandwidth in bytes/s, matrix_rates in FLOP/s."""

    name: str
    cell: str
    dtype: str
    num_parameters: int
    decode_bytes: int
    state_bytes: int
    read_bandwidth: Spread
    matrix_rates: dict[str, Spread]
    core: list[CoreFigure]
    prefill_shares: dict[str, float]
    serving: list[ServingFigures] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Name and weight type."""
        return f"{self.name} {self.dtype}"


@dataclass(frozen=True)
class Report:
    """A whole run. left_out: what the time limit did not allow."""

    machine: Machine
    date: str
    command: str
    threads: int
    isa_level: str
    subjects: list[SubjectResult]
    left_out: list[str]

    def to_json(self) -> str:
        """All figures, for programs."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    def to_markdown(self) -> str:
        """What a person reads: where it was measured, the table, the limits, the breakdown."""
        parts = [
            _preamble(self),
            _markdown(HEADINGS, rows(self)),
            _markdown(_LIMIT_HEADINGS, limit_rows(self)),
        ]
        parts += [_markdown(_BREAKDOWN_HEADINGS, breakdown_rows(self))]
        parts += [f"Left out by the time limit: {', '.join(self.left_out)}."] if self.left_out else []
        return "\n\n".join(parts) + "\n"


def rows(report: Report) -> list[tuple[str, ...]]:
    """The table: a row per model and measurement."""
    return [row for subject in report.subjects for row in (*_core_rows(subject), *_serving_rows(subject))]


_LIMIT_HEADINGS = (
    "model",
    "parameters",
    "read per step",
    "read bandwidth",
    "float32 products",
    "bfloat16 products",
)


def limit_rows(report: Report) -> list[tuple[str, ...]]:
    """What the machine could do while each model was measured."""
    return [
        (
            each.label,
            f"{each.num_parameters / 1e6:.1f} M",
            f"{each.decode_bytes / 1e6:.0f} MB",
            _scaled(each.read_bandwidth, 1e9, "GB/s"),
            _scaled(each.matrix_rates["float32"], 1e9, "GFLOP/s"),
            _scaled(each.matrix_rates["bfloat16"], 1e9, "GFLOP/s"),
        )
        for each in report.subjects
    ]


_BREAKDOWN_HEADINGS = (
    "prefill of 512 tokens",
    "matrix products",
    *NOT_MATRIX,
    "other",
    "all but products and other",
)


def breakdown_rows(report: Report) -> list[tuple[str, ...]]:
    """Shares of a prefill's time."""
    return [
        (
            each.label,
            *(f"{each.prefill_shares[kind]:.1%}" for kind in ("matrix products", *NOT_MATRIX, "other")),
            f"{sum(each.prefill_shares[kind] for kind in NOT_MATRIX):.1%}",
        )
        for each in report.subjects
    ]


def _core_rows(subject: SubjectResult) -> Iterable[tuple[str, ...]]:
    for figure in subject.core:
        yield (
            subject.label,
            figure.measured,
            *_speed(figure.tokens_per_second),
            _number(figure.limit),
            f"{figure.tokens_per_second.median / figure.limit:.0%}",
            figure.limited_by,
            "",
            "",
        )


def _serving_rows(subject: SubjectResult) -> Iterable[tuple[str, ...]]:
    alone = {figure.measured: figure.tokens_per_second.median for figure in subject.core}
    for figures in subject.serving:
        limit = alone[f"decode, batch {figures.streams}"]
        yield (
            subject.label,
            f"server, {figures.streams} streams",
            *_speed(figures.tokens_per_second),
            _number(limit),
            f"{figures.tokens_per_second.median / limit:.0%}",
            "decode of the model alone",
            f"{figures.ttft_p50 * 1e3:.0f} / {figures.ttft_p99 * 1e3:.0f}",
            f"{figures.itl_p50 * 1e3:.1f} / {figures.itl_p99 * 1e3:.1f}",
        )


def _preamble(report: Report) -> str:
    machine = report.machine
    return "\n".join(
        (
            f"`{report.command}` on {report.date}",
            f"{machine.cpu}, {machine.cores} cores, {machine.system}, load {machine.load} at the start;",
            f"{report.threads} threads, instruction set level {report.isa_level}.",
        )
    )


def _speed(speed: Spread) -> tuple[str, str]:
    return _number(speed.median), f"{_number(speed.low)} to {_number(speed.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _scaled(spread: Spread, unit: float, name: str) -> str:
    return f"{spread.median / unit:.0f} ({spread.low / unit:.0f} to {spread.high / unit:.0f}) {name}"


def _markdown(headings: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """Columns are padded, so that it reads as text too."""
    widths = [max(len(row[column]) for row in (headings, *body)) for column in range(len(headings))]
    lines = [headings, tuple("-" * width for width in widths), *body]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
