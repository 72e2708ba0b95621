"""`python -m pararnn_core.tune_solvers`: asks the GPU at hand when Newton is faster, and rewrites the table.

Both kernels solve one sequence of so many channels and tokens, in turn; what counts is the median.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from pararnn_core import ops
from pararnn_core.devices import multiprocessors, seconds_on, usable_device
from pararnn_core.solver_table import TABLE_PATH, SolverTable

ROOMS = (1, 2, 4, 8, 16, 32, 64, 128)
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DTYPES = (torch.float32, torch.bfloat16)
REPETITIONS = 9
_CELLS = {"gru": (1, 0), "lstm": (2, 2)}
"""States and peepholes of a channel."""


class Timing(NamedTuple):
    """Seconds of each way."""

    sequential: float
    newton: float


Timings = Mapping[float, Mapping[int, Timing]]
"""By channels per multiprocessor, then by tokens."""


def thresholds(timings: Timings) -> list[tuple[float, int]]:
    """Pairs of the table: Newton from the fewest tokens from which on it always was the faster one.

    Ends before the first number of channels for which it never was; the tokens never fall.
    """
    found: list[tuple[float, int]] = []
    least = 0
    for room in sorted(timings):
        wins = None
        for tokens in sorted(timings[room], reverse=True):
            if timings[room][tokens].newton >= timings[room][tokens].sequential:
                break
            wins = tokens
        if wins is None:
            break
        least = max(least, wins)
        found.append((room, least))
    return found


def measure(cell: str, dtype: torch.dtype, channels: int, tokens: int, device: torch.device) -> Timing:
    """One sequence, weights within the range of trained ones."""
    states, peepholes = _CELLS[cell]
    bx = torch.randn(tokens, 3, channels, device=device).to(dtype)
    a = torch.rand(3, channels, device=device) - 0.5
    c = torch.rand(peepholes, channels, device=device) - 0.5 if peepholes else None
    state = torch.zeros(1, states, channels, device=device)
    bounds = torch.tensor([0, tokens], dtype=torch.int32, device=device)
    slots, held = torch.zeros_like(bounds[:1]), torch.ones(1, dtype=torch.bool, device=device)
    arguments = (cell, bx, a, c, bounds, slots, held, state)
    return _in_turn(device, lambda: ops.recurrence_(*arguments), lambda: ops.newton_recurrence_(*arguments))


def _in_turn(device: torch.device, *ways: Callable[[], object]) -> Timing:
    rounds = [[seconds_on(device, way) for way in ways] for _ in range(REPETITIONS + 1)]
    return Timing(*(statistics.median(taken) for taken in zip(*rounds[1:], strict=True)))


def lines(title: str, timings: Timings) -> list[str]:
    """A table to read: microseconds of the sequential scan / of Newton."""
    lengths = sorted(next(iter(timings.values())))
    columns = " | ".join(map(str, lengths))
    head = [f"{title}: sequential / newton, us", "", f"| channels a multiprocessor | {columns} |"]
    rule = "|---" * (len(lengths) + 1) + "|"
    rows = [
        f"| {room:g} | "
        + " | ".join(f"{t.sequential * 1e6:.1f} / {t.newton * 1e6:.1f}" for t in (by[n] for n in lengths))
        + " |"
        for room, by in sorted(timings.items())
    ]
    return [*head, rule, *rows, ""]


def tune(device: torch.device) -> SolverTable:
    """Measures all cells and types, and prints what it finds."""
    table: dict[str, dict[str, list[tuple[float, int]]]] = {}
    for cell in _CELLS:
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
            print("\n".join(lines(f"{cell}, {name}", timings)), flush=True)
            table[cell][name] = thresholds(timings)
    return SolverTable(torch.cuda.get_device_name(device), table)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure when Newton is faster, and rewrite the table.")
    parser.add_argument("--out", type=Path, default=TABLE_PATH, help="the table's file")
    options = parser.parse_args(arguments)
    text = tune(usable_device("cuda")).encode()
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}:\n{text}")


if __name__ == "__main__":
    main()
