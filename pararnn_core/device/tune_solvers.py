"""`python -m pararnn_core.device.tune_solvers` measures which solver is faster here and rewrites the table.

For each number of channels and tokens all solvers take turns on one sequence, and their medians are compared.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from pararnn_core import ops
from pararnn_core.cells import CELLS
from pararnn_core.cells.trained_like import draw_inputs, draw_weights
from pararnn_core.ops.devices import multiprocessors, seconds_on, usable_device
from pararnn_core.solvers.solver_table import STEP_BY_STEP, TABLE_PATH, Rows, SolverTable

ROOMS = (1, 2, 4, 8, 16, 32, 64, 128)
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DTYPES = (torch.float32, torch.bfloat16)
REPETITIONS = 9
SOLVERS = (STEP_BY_STEP, 1, 2, 4)
LEAST_GAIN = 1.03
"""Speedup from which another number of time warps gets its own step in the table."""

Timing = Mapping[int, float]
"""Seconds by number of time warps; STEP_BY_STEP is one of the keys."""

Timings = Mapping[float, Mapping[int, Timing]]
"""Timings by channels per multiprocessor, then by tokens."""


def rows(timings: Timings) -> list[tuple[float, list[tuple[int, int]]]]:
    """Return the table's rows. They end before the first number of channels at which Newton never wins."""
    found = []
    for room in sorted(timings):
        steps = _steps(timings[room])
        if not steps:
            break
        found.append((room, steps))
    return found


def _steps(timings: Mapping[int, Timing]) -> list[tuple[int, int]]:
    """Return (tokens, time warps) pairs of one row.

    The first pair has the fewest tokens beyond which Newton always wins. A later pair needs LEAST_GAIN.
    """
    lengths = sorted(timings)
    lost = [tokens for tokens in lengths if _fastest(timings[tokens]) == STEP_BY_STEP]
    steps: list[tuple[int, int]] = []
    for tokens in lengths:
        if lost and tokens <= lost[-1]:
            continue
        seconds, best = timings[tokens], _fastest(timings[tokens])
        if not steps or seconds[best] * LEAST_GAIN < seconds[steps[-1][1]]:
            steps.append((tokens, best))
    return steps


def _fastest(timing: Timing) -> int:
    return min(timing, key=lambda warps: timing[warps])


def measure(cell: str, dtype: torch.dtype, channels: int, tokens: int, device: torch.device) -> Timing:
    """Time all solvers on one sequence that is as hard as those of trained models."""
    bx = draw_inputs(cell, tokens, channels, device).to(dtype)
    a, c = draw_weights(cell, channels, device)
    state = torch.zeros(1, CELLS[cell].num_states, channels, device=device)
    bounds = torch.tensor([0, tokens], dtype=torch.int32, device=device)
    slots, held = torch.zeros_like(bounds[:1]), torch.ones(1, dtype=torch.bool, device=device)
    arguments = (cell, bx, a, c, bounds, slots, held, state)

    def solve(warps: int) -> object:
        if warps == STEP_BY_STEP:
            return ops.recurrence_(*arguments)
        return ops.newton_recurrence_(*arguments, time_warps=warps)

    return _in_turn(device, {warps: functools.partial(solve, warps) for warps in SOLVERS})


def _in_turn(device: torch.device, solvers: Mapping[int, Callable[[], object]]) -> Timing:
    # Solvers take turns, so a change of the clock rate affects all of them.
    rounds = [[seconds_on(device, solver) for solver in solvers.values()] for _ in range(REPETITIONS + 1)]
    # The first round also loads kernels and allocates memory, so it does not count.
    medians = (statistics.median(taken) for taken in zip(*rounds[1:], strict=True))
    return dict(zip(solvers, medians, strict=True))


def lines(title: str, timings: Timings) -> list[str]:
    """Return a Markdown table: microseconds of the sequential scan / of Newton, by time warps."""
    lengths = sorted(next(iter(timings.values())))
    columns = " | ".join(map(str, lengths))
    solvers = " / ".join("sequential" if solver == STEP_BY_STEP else f"newton {solver}" for solver in SOLVERS)
    head = [f"{title}: {solvers}, us", "", f"| channels a multiprocessor | {columns} |"]
    rule = "|---" * (len(lengths) + 1) + "|"
    rows = [
        f"| {room:g} | "
        + " | ".join(" / ".join(f"{by[n][solver] * 1e6:.1f}" for solver in SOLVERS) for n in lengths)
        + " |"
        for room, by in sorted(timings.items())
    ]
    return [*head, rule, *rows, ""]


def tune(device: torch.device) -> SolverTable:
    """Measure all cells and types, print the timings, and return the table."""
    table: dict[str, dict[str, Rows]] = {}
    for cell in CELLS:
        table[cell] = {}
        for dtype in DTYPES:
            name = str(dtype).removeprefix("torch.")
            timings = {
                float(room): {
                    tokens: measure(cell, dtype, room * multiprocessors(device), tokens, device)
                    for tokens in LENGTHS
                }
                for room in ROOMS
            }
            # A run that is cut short has still shown the tables that it finished.
            print("\n".join(lines(f"{cell}, {name}", timings)), flush=True)
            table[cell][name] = rows(timings)
    return SolverTable(torch.cuda.get_device_name(device), table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure when Newton is faster, and rewrite the table.")
    parser.add_argument("--out", type=Path, default=TABLE_PATH, help="the table's file")
    options = parser.parse_args(arguments)
    text = tune(usable_device("cuda")).encode()
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}:\n{text}")


if __name__ == "__main__":
    main()
