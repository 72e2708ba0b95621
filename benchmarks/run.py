"""`python -m benchmarks.run` measures this machine, prints tables and saves them in benchmarks/results."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from pararnn_server.bench.machine import Machine
from pararnn_server.bench.subject import Subject
from rich.console import Console
from rich.status import Status

from benchmarks.groups import groups, served_by_default
from benchmarks.parts import (
    Found,
    Setting,
    measure_conversations,
    measure_group,
    measure_original,
    measure_parked,
    measure_servers,
    measure_start,
)
from benchmarks.report import Report
from pararnn_core import ops

RESULTS = Path(__file__).with_name("results")
LLAMA_MODELS = Path(__file__).parents[1] / "build" / "llama_cpp"
CORES = len(os.sched_getaffinity(0))
PARTS = ("core", "peer", "original", "server", "start", "sessions")
_NOMINAL_SECONDS = 1100.0
_BUSY = 0.5

Step = tuple[str, Callable[[Callable[[str], None]], None]]


def main(
    only: Annotated[str, typer.Option(help=f"Only these parts, by commas: {' '.join(PARTS)}.")] = "",
    models: Annotated[
        str, typer.Option(help="Only these models, by commas: shipped 25m 130m 406m 1.4b.")
    ] = "",
    quick: Annotated[bool, typer.Option(help="One round: a glance, nothing to quote.")] = False,
    json: Annotated[bool, typer.Option(help="Print JSON, not tables.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of everything measured.")] = CORES,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds for all; what is slow is then repeated less often.")
    ] = _NOMINAL_SECONDS,
    output: Annotated[Path, typer.Option(help="Folder for the Markdown and JSON files.")] = RESULTS,
    original: Annotated[
        Path | None,
        typer.Option(
            envvar="PARARNN_ORIGINAL",
            help="A checkout of xaviergonzalez/ml-pararnn, the original's code, for its rows.",
        ),
    ] = None,
    llama_python: Annotated[
        str,
        typer.Option(
            envvar="PARARNN_LLAMA_PYTHON",
            help="Python that has llama-cpp-python and gguf, for the peer's rows.",
        ),
    ] = "",
    llama_server: Annotated[
        str, typer.Option(envvar="PARARNN_LLAMA_SERVER", help="llama-server, for the peer's server rows.")
    ] = "",
    llama_models: Annotated[
        Path, typer.Option(help="Folder for the peer's random models, up to 15 GB.")
    ] = LLAMA_MODELS,
) -> None:
    """Measure shipped and random models beside the machine's limits and llama.cpp, part by part."""
    console = Console(stderr=True)
    parts, names = _words(only) or set(PARTS), _words(models)
    if unknown := parts - set(PARTS):
        console.print(f"--only: there is no part {', '.join(sorted(unknown))}")
        raise typer.Exit(2)
    torch.set_num_threads(1)
    ops.set_num_threads(threads)
    scale = 0.05 if quick else time_limit / _NOMINAL_SECONDS
    setting = Setting(threads, 1 if quick else 5, scale, llama_python, llama_server, llama_models, original)
    machine, start = Machine.here(), time.monotonic()
    found = Found(notes=[*_disturbances(machine), *_absences(setting, parts)])
    _run_all(list(_steps(parts, names, setting, found)), found, console)
    report = Report(
        machine=machine,
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
        threads=threads,
        isa_level=ops.isa_level(),
        seconds=time.monotonic() - start,
        found=found,
    )
    print(report.to_json() if json else report.to_markdown())
    _keep(report, output, console)


def _steps(parts: set[str], names: set[str], setting: Setting, found: Found) -> Iterator[Step]:
    """Yield the measurements in order: a name, and a function that takes a progress report."""
    peers = "peer" in parts
    for group in groups():
        if "core" in parts and (not names or group.name in names):
            yield f"{group.name}, models", partial(measure_group, group, setting, peers, found)
    if "original" in parts and not names and setting.original is not None:
        yield "the original's cells", partial(measure_original, setting, found)
    for name, subject in _served():
        if "server" in parts and (not names or name in names):
            beside = peers and name == "130m"
            yield f"{name}, servers", partial(measure_servers, subject, setting, beside, found)
    if "start" in parts and (not names or "1.4b" in names):
        yield "1.4b, start", partial(measure_start, Subject.random("1.4b", "int4"), setting, found)
    if "sessions" in parts and (not names or "130m" in names):
        yield "130m, sessions", partial(measure_parked, setting, found)
    for name, subject in _served():
        if "sessions" in parts and (not names or name in names):
            yield f"{name}, conversations", partial(measure_conversations, subject, setting, found)


def _served() -> Iterator[tuple[str, Subject]]:
    yield "130m", Subject.random("130m", "int8")
    yield "shipped", served_by_default()


def _run_all(steps: list[Step], found: Found, console: Console) -> None:
    """Run all steps. A step that fails becomes a note, and the others still run."""
    for index, (name, step) in enumerate(steps):
        place, began = f"({index + 1}/{len(steps)})", time.monotonic()
        with console.status(f"{place} {name}") as status:
            try:
                step(partial(_tell, status, place))
            except Exception as error:
                console.print_exception()
                found.notes.append(f"{name} failed: {type(error).__name__}: {str(error)[:200]}")
        console.print(f"{place} {name}: {time.monotonic() - began:.0f} s")


def _tell(status: Status, place: str, text: str) -> None:
    status.update(f"{place} {text}")


def _disturbances(machine: Machine) -> Iterator[str]:
    """Yield warnings about other load. Ratios are wrong then, because a peer's spinning threads lose most."""
    if machine.load > _BUSY * machine.cores:
        yield f"The machine was busy (load {machine.load}): quote no figure and no ratio of this run."


def _absences(setting: Setting, parts: set[str]) -> Iterator[str]:
    if "original" in parts and setting.original is None:
        yield "The original is absent: --original (PARARNN_ORIGINAL) names no checkout of its code."
    if "peer" not in parts:
        return
    if not setting.llama_python:
        yield "llama.cpp is absent: PARARNN_LLAMA_PYTHON names no Python that has llama-cpp-python and gguf."
    if "server" in parts and not setting.llama_server:
        yield "llama-server is absent: PARARNN_LLAMA_SERVER names no binary."


def _words(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _keep(report: Report, folder: Path, console: Console) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.date}-{report.machine.slug}"
    path.with_suffix(".md").write_text(report.to_markdown())
    path.with_suffix(".json").write_text(report.to_json())
    console.print(f"kept in {path}.md and .json")


if __name__ == "__main__":
    typer.run(main)
