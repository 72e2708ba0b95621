"""`pararnn bench`: how fast models run here, beside what this machine allows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from pararnn_core import ops
from pararnn_core.cells import CELLS
from pararnn_server.bench.machine import Machine
from pararnn_server.bench.measure import Measured, Plan, measure
from pararnn_server.bench.subject import Subject
from pararnn_server.bench.table import HEADINGS, LIMIT_HEADINGS, NUMERIC, figure_row, limit_rows
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_option, read_settings
from pararnn_server.models.find_checkpoint import find_checkpoint

_WIDTH_OF_A_FILE = 140
_LARGEST = 1 << 20
_MOST_THREADS = 1024


@one_line_errors()
def bench(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT...",
            help="Directories or names; default, without --random: the one that `serve` would take.",
        ),
    ] = None,
    random: Annotated[
        str, option("Sizes to measure with random weights, by commas: 25m 130m 406m 1.4b 2.9b 7b.")
    ] = "",
    cell: Annotated[str, option(f"Cell of the random models: {' or '.join(CELLS)}.")] = "gru",
    weights: Annotated[str, option("Formats of the random models, by commas: f32 bf16 int8 int4.")] = "int8",
    threads: Annotated[str, option("Numbers of threads, by commas; 0 means one per core.")] = "0",
    prompt: Annotated[str, option("Lengths of the prefills, by commas; 'none' leaves them out.")] = "512",
    decode_batch: Annotated[
        str, option("Sequences that are decoded at once, by commas; 'none' leaves them out.")
    ] = "1,8,32",
    repetitions: Annotated[
        int, option("Rounds through all tests of a model, after one to warm up.", min=1)
    ] = 5,
    time_limit: Annotated[
        float, option("Seconds for one model; what is slow is then repeated less often.", min=1)
    ] = 60.0,
    json_file: Annotated[
        Path | None, path_option("Also write all figures to this file.", "--json", env="JSON", metavar="FILE")
    ] = None,
) -> None:
    """Measure prefill and decode, and in the same minutes what this machine allows.

    Limits: a plain reader of as many bytes as a step reads, and multiply-adds without memory, with the same
    threads. Run it on an idle machine.
    """
    subjects = _subjects(checkpoints or [], _words(random), cell, _words(weights))
    plan = Plan(
        _numbers("--prompt", prompt, 1, _LARGEST),
        _numbers("--decode-batch", decode_batch, 1, _LARGEST),
        repetitions,
        time_limit,
    )
    if not plan.tests:
        raise CommandFailed("--prompt none and --decode-batch none leave nothing to measure")
    counts = _numbers("--threads", threads, 0, _MOST_THREADS)
    if not counts:
        raise CommandFailed("--threads: name at least one number")
    machine = Machine.here()
    runs = list(_measure_all(subjects, counts, plan))
    _show(runs)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(machine, runs), indent=1) + "\n")


def as_json(machine: Machine, runs: Sequence[Measured]) -> dict[str, Any]:
    """Return all figures. Speeds are tokens, bytes and operations per second."""
    return {
        "machine": dataclasses.asdict(machine),
        "isa_level": ops.isa_level(),
        "figures": [
            {**dataclasses.asdict(figure), "share": figure.share} for run in runs for figure in run.figures
        ],
        "limits": [dataclasses.asdict(run.limits) for run in runs],
    }


def _subjects(checkpoints: list[str], presets: list[str], cell: str, weights: list[str]) -> list[Subject]:
    if not checkpoints and not presets:
        return [Subject.of_checkpoint(find_checkpoint(read_settings({})))]
    found = [
        Subject.of_checkpoint(find_checkpoint(read_settings({"checkpoint": name}), "CHECKPOINT"))
        for name in checkpoints
    ]
    if presets and not weights:
        raise CommandFailed("--weights: name at least one format")
    try:
        return found + [Subject.random(preset, each, cell) for preset in presets for each in weights]
    except ValueError as error:
        raise CommandFailed(str(error)) from None


def _measure_all(subjects: list[Subject], counts: list[int], plan: Plan) -> list[Measured]:
    console = Console(stderr=True)
    # Torch's threads spin after their work and would slow down the kernels.
    torch.set_num_threads(1)
    # Read before the first change: 0 means this number.
    runs, default = [], ops.num_threads()
    for count in counts:
        ops.set_num_threads(count or default)
        for subject in subjects:
            with console.status(subject.label) as status:
                runs.append(measure([subject], plan, status.update))
    return runs


def _show(runs: Sequence[Measured]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OF_A_FILE)
    rows = [figure_row(figure) for run in runs for figure in run.figures]
    console.print(_table(HEADINGS, rows))
    console.print(_table(LIMIT_HEADINGS, limit_rows(run.limits for run in runs)))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMERIC else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(name: str, text: str, least: int, most: int) -> list[int]:
    words = _words(text)
    return [] if words == ["none"] else [_number(name, word, least, most) for word in words]


def _number(name: str, word: str, least: int, most: int) -> int:
    try:
        value = int(word)
    except ValueError:
        raise CommandFailed(f"{name}: {word!r} is no whole number") from None
    if not least <= value <= most:
        raise CommandFailed(f"{name}: {word} is not in {least} to {most}")
    return value
