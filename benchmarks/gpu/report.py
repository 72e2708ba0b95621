"""Reports of a run on a device in Markdown and JSON, written again after each table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pararnn_server.bench.machine import Machine
from pararnn_server.bench.table import markdown

from benchmarks import original
from benchmarks.gpu import tables
from benchmarks.gpu.found import Found
from benchmarks.gpu.targets import targets
from benchmarks.target import TARGET_HEADINGS, target_row

_DECODES_FOOT = (
    "Steps in a row, as CUDA graphs where the device has them; no sampling. The weights are larger than "
    "any L2 cache. Of the read bandwidth: the stored weights that a step reads. The paper gives about 37 "
    "tokens/s for a ParaGRU of 1.42 billion parameters at batch 1, on an A100."
)
_SCANS_FOOT = (
    "Medians, each from a cold L2 cache. Of copy: bx read once and y written once, of the copy bandwidth. "
    "Of its bound: what issue slots and special-function units allow, with the most updates of any unit "
    "for all. newton: with the number of warps that was fastest. auto: the solver that the table of the "
    "project names."
)
_LOOPS_FOOT = (
    "float32. The loop is the cell's step in torch, one time after the other. The paper's figures, 665x "
    "for the LSTM and 447x for the GRU, are at this length too; its widths and batches are not known."
)
_PREFILLS_FOOT = (
    "One sequence, bf16; the products alone are torch's on the same shapes, rows and results in bfloat16. "
    "Working memory is the most that torch gave out beside weights and states."
)
_STAGES_FOOT = "Launch by launch, and each stage is waited for: a step of its own takes less."


@dataclass(frozen=True)
class Report:
    """A report. host: description of the machine; software: versions; seconds: duration of the run."""

    device: str
    host: Machine
    software: str
    date: str
    command: str
    model: str
    seconds: float
    found: Found

    def write(self, path: Path) -> None:
        """Write both files. path: without suffix."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".md").write_text(self.to_markdown(), encoding="utf-8")
        path.with_name(path.name + ".json").write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """Return all figures as JSON."""
        rows = [{**dataclasses.asdict(each), "is_reached": each.is_reached} for each in targets(self.found)]
        return json.dumps({**dataclasses.asdict(self), "targets": rows}, indent=1) + "\n"

    def to_markdown(self) -> str:
        """Return the tables as Markdown."""
        return "\n\n".join([self._preamble(), *self._tables()]) + "\n"

    def _preamble(self) -> str:
        host = self.host
        return "\n".join(
            (
                f"`{self.command}` on {self.date}, {self.seconds / 60:.1f} minutes",
                f"{self.device}; {self.software};",
                f"in {host.cpu}, {host.cores} cores, {host.system}, load {host.load} at the start.",
            )
        )

    def _tables(self) -> Iterator[str]:
        found = self.found
        if found.limits is not None:
            yield from _table("Limits", tables.LIMIT_HEADINGS, tables.limit_rows(found.limits))
        yield from _table(
            f"Decode, {self.model}", tables.DECODE_HEADINGS, tables.decode_rows(found), _DECODES_FOOT
        )
        prefills = map(tables.prefill_row, found.prefills)
        yield from _table(f"Prefill, {self.model}", tables.PREFILL_HEADINGS, prefills, _PREFILLS_FOOT)
        scans = (tables.scan_row(found, each) for each in found.scans)
        yield from _table("Scans", tables.SCAN_HEADINGS, scans, _SCANS_FOOT)
        loops = map(tables.loop_row, found.loops)
        yield from _table("Beside a loop in torch", tables.LOOP_HEADINGS, loops, _LOOPS_FOOT)
        originals = (each.row() for each in found.originals)
        yield from _table("Beside the original", original.HEADINGS, originals, original.FOOT)
        yield from _table("Server", tables.SERVED_HEADINGS, map(tables.served_row, found.served))
        for each in found.profiles:
            title = f"Stages of {each.what}: {each.step * 1e6:,.0f} us"
            yield from _table(title, tables.STAGE_HEADINGS, tables.stage_rows(each), _STAGES_FOOT)
        yield from _table("Targets", TARGET_HEADINGS, map(target_row, targets(found)))
        if found.notes:
            yield "## Notes"
            yield "\n".join(f"- {note}" for note in found.notes)


def _table(
    title: str, headings: Sequence[str], rows: Iterator[tuple[str, ...]], foot: str = ""
) -> Iterator[str]:
    """Yield a section with a table; nothing without rows."""
    body = list(rows)
    if not body:
        return
    yield f"## {title}"
    yield markdown(headings, body)
    if foot:
        yield foot
