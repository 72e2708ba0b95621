"""Reports of a run in Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass

from pararnn_server.bench.machine import Machine
from pararnn_server.bench.table import HEADINGS, LIMIT_HEADINGS, figure_row, limit_rows, markdown, number
from pararnn_server.bench.timing import Spread

from benchmarks import original
from benchmarks.parts import (
    LONG_PROMPT_TOKENS,
    NEW_TOKENS,
    PROMPT_TOKENS,
    QUIET_STREAMS,
    STREAMS,
    Found,
    Served,
    Start,
)
from benchmarks.stall import Stall
from benchmarks.target import TARGET_HEADINGS, target_row
from benchmarks.targets import targets

SERVER_HEADINGS = (
    "server",
    "streams",
    "tokens/s",
    "least to greatest",
    "first token p50 / p99 ms",
    "between p50 / p99 ms",
)
STALL_HEADINGS = (
    "server",
    "quiet median ms",
    "busy p50 ms",
    "busy p99 ms",
    "busy max ms",
    "p99 of quiet median",
)
START_HEADINGS = ("server", "weights", "64 sessions", "ready", "first token", "resident")


@dataclass(frozen=True)
class Report:
    """A report. seconds: duration of the run."""

    machine: Machine
    date: str
    command: str
    threads: int
    isa_level: str
    seconds: float
    found: Found

    def to_json(self) -> str:
        """Return all figures as JSON."""
        found = dataclasses.asdict(self.found)
        body = {
            **dataclasses.asdict(self),
            "found": {**found, "peer_versions": sorted(found["peer_versions"])},
        }
        rows = [{**dataclasses.asdict(each), "is_reached": each.is_reached} for each in targets(self.found)]
        return json.dumps({**body, "targets": rows}, indent=1) + "\n"

    def to_markdown(self) -> str:
        """Return the tables as Markdown."""
        found = self.found
        parts = [_preamble(self)]
        if found.figures:
            parts += ["## Models", markdown(HEADINGS, [figure_row(each) for each in found.figures])]
        if found.original:
            rows = [each.row() for each in found.original]
            parts += ["## The original's cells", original.FOOT, markdown(original.HEADINGS, rows)]
        if found.served:
            rows = [row for each in found.served for row in server_rows(each)]
            about = f"{PROMPT_TOKENS} random tokens in, {NEW_TOKENS} out, all streams at once."
            parts += ["## Servers", about, markdown(SERVER_HEADINGS, rows)]
            stalls = [stall_row(each.label, each.stalls) for each in found.served if each.stalls]
            about = f"{QUIET_STREAMS} streams while a prompt of {LONG_PROMPT_TOKENS:,} tokens is read."
            parts += [about, markdown(STALL_HEADINGS, stalls)] if stalls else []
        if found.starts:
            parts += ["## Start", markdown(START_HEADINGS, [start_row(each) for each in found.starts])]
        if found.parked:
            parts += ["## Sessions", *(f"```text\n{parked}\n```" for parked in found.parked)]
        if found.conversations:
            lines = "\n".join(f"{label}: {each}" for label, each in found.conversations)
            parts += ["## Conversations", f"```text\n{lines}\n```"]
        if found.limits:
            parts += ["## Limits", markdown(LIMIT_HEADINGS, limit_rows(found.limits))]
        parts += ["## Targets", markdown(TARGET_HEADINGS, [target_row(each) for each in targets(found)])]
        parts += ["## Notes", "\n".join(f"- {note}" for note in found.notes)] if found.notes else []
        return "\n\n".join(parts) + "\n"


def server_rows(served: Served) -> list[tuple[str, ...]]:
    """Return rows with the columns SERVER_HEADINGS."""
    rows: list[tuple[str, ...]] = [
        (
            served.label,
            str(each.streams),
            *_spread(each.tokens_per_second),
            f"{each.ttft_p50 * 1e3:.0f} / {each.ttft_p99 * 1e3:.0f}",
            f"{each.itl_p50 * 1e3:.1f} / {each.itl_p99 * 1e3:.1f}",
        )
        for each in served.loads
    ]
    if served.alone is not None:
        rows.append((f"{served.label}, without a server", str(STREAMS[-1]), *_spread(served.alone), "", ""))
    return rows


def _spread(rates: Spread) -> tuple[str, str]:
    return number(rates.median), f"{number(rates.low)} to {number(rates.high)}"


def stall_row(label: str, stalls: list[Stall]) -> tuple[str, ...]:
    """Return a row with the columns STALL_HEADINGS: medians over the repetitions, and the largest ratio."""
    names = ("quiet_median", "busy_p50", "busy_p99", "busy_max")
    medians = [statistics.median(getattr(each, name) for each in stalls) for name in names]
    worst = max(each.busy_p99 / each.quiet_median for each in stalls)
    return (label, *(f"{value * 1e3:.1f}" for value in medians), f"{worst:.1f}x")


def start_row(start: Start) -> tuple[str, ...]:
    """Return a row with the columns START_HEADINGS."""
    return (
        start.label,
        f"{start.weight_bytes / 2**20:,.0f} MiB",
        f"{start.session_bytes / 2**20:,.0f} MiB",
        f"{start.ready_seconds:.2f} s",
        f"{start.first_token_seconds * 1e3:.0f} ms",
        f"{start.resident_bytes / 2**20:,.0f} MiB",
    )


def _preamble(report: Report) -> str:
    machine, peers = report.machine, ", ".join(sorted(report.found.peer_versions))
    return "\n".join(
        (
            f"`{report.command}` on {report.date}, {report.seconds / 60:.0f} minutes",
            f"{machine.cpu}, {machine.cores} cores, {machine.system}, load {machine.load} at the start;",
            f"{report.threads} threads, instruction set level {report.isa_level}; peer: {peers or 'absent'}.",
        )
    )
