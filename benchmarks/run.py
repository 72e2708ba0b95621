"""`python -m benchmarks.run`: measure this machine, print the tables, keep them under benchmarks/results."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.machine import Machine
from benchmarks.measure import Plan, measure_core, measure_serving
from benchmarks.report import Report, SubjectResult
from benchmarks.subjects import Subject, random_presets, shipped
from pararnn_core import ops

RESULTS = Path(__file__).with_name("results")
CORES = len(os.sched_getaffinity(0))
_CORE_SHARE = 0.5


def main(
    quick: Annotated[bool, typer.Option(help="Fewer rounds and tokens: a glance, nothing to quote.")] = False,
    models: Annotated[
        str, typer.Option(help="Only models whose label contains one of these, by commas.")
    ] = "",
    json: Annotated[bool, typer.Option(help="Print JSON, not tables.")] = False,
    server: Annotated[bool, typer.Option(help="Also measure the server.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads of everything measured.")] = CORES,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds; what does not fit is left out.")] = 420,
    output: Annotated[Path, typer.Option(help="Folder for the Markdown and JSON files.")] = RESULTS,
) -> None:
    """Measure the shipped models and random presets beside the machine's own limits."""
    console = Console(stderr=True)
    subjects = _chosen(models)
    if not subjects:
        console.print(f"no model's label contains {models!r}")
        raise typer.Exit(2)
    torch.set_num_threads(threads)
    ops.set_num_threads(threads)
    plan = Plan(threads, 1, 32, 16) if quick else Plan(threads, 5, 64, 64)
    machine = Machine.here()
    results, left_out = _measure_all(subjects, plan, time.monotonic() + time_limit, console, server=server)
    report = Report(
        machine=machine,
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
        threads=threads,
        isa_level=ops.isa_level(),
        subjects=results,
        left_out=left_out,
    )
    print(report.to_json() if json else report.to_markdown())
    _keep(report, output, console)


def _chosen(models: str) -> list[Subject]:
    wanted = [part.strip() for part in models.split(",") if part.strip()]
    every = [*shipped(), *random_presets()]
    return [each for each in every if not wanted or any(part in each.label for part in wanted)]


def _measure_all(
    subjects: list[Subject], plan: Plan, end: float, console: Console, *, server: bool
) -> tuple[list[SubjectResult], list[str]]:
    """Results, and the names of what the time limit left out."""
    results: list[SubjectResult] = []
    left_out: list[str] = []
    for index, subject in enumerate(subjects):
        start = time.monotonic()
        if start > end:
            left_out.append(subject.label)
            continue
        share = (end - start) / (len(subjects) - index)
        console.print(f"[{index + 1}/{len(subjects)}] {subject.label}")
        with console.status("loading") as status:
            result = measure_core(subject, plan, start + share * _CORE_SHARE, status.update)
            if server and time.monotonic() > end:
                left_out.append(f"{subject.label}, server")
            elif server:
                figures = measure_serving(subject, plan, start + share, status.update)
                result = dataclasses.replace(result, serving=figures)
        results.append(result)
    return results, left_out


def _keep(report: Report, folder: Path, console: Console) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.date}-{report.machine.slug}"
    path.with_suffix(".md").write_text(report.to_markdown())
    path.with_suffix(".json").write_text(report.to_json())
    console.print(f"kept in {path}.md and .json")


if __name__ == "__main__":
    typer.run(main)
