"""`python -m benchmarks.gpu.count_instructions LIBRARY` counts the instructions of the scans.

Needs the library that nvcc built and cuobjdump, of the CUDA toolkit or of the package nvidia-cuda-cuobjdump,
but no GPU. It reads the machine code (SASS) and rewrites `instruction_counts.json`, which instructions.py
explains. A loop is the code between a backward branch and its target. All of it counts, even if a branch may
skip some, so the counts are upper bounds.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu.instructions import COUNTS_PATH, Counts, StepCount

_LANE_STEPS = 4
"""Steps of a lane in Newton's tile: kSteps in CUDA."""
_ROWS = 3
"""Loads of a step."""

_KERNEL = re.compile(
    r"(newton|sequential)_scanI\w+?(?:3(Gru)|4(Lstm))E(?:(f)|NS\w*?8BFloat16E)(?:Li(\d)E)?E+v"
)
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?);")


@dataclass(frozen=True)
class Loop:
    """A loop: names of the instructions from `begin` to the branch back to it, at `end`."""

    begin: int
    end: int
    names: tuple[str, ...]

    def count(self, name: str) -> int:
        """Count the instructions whose names begin with `name`."""
        return sum(found.startswith(name) for found in self.names)

    def encloses(self, other: Loop) -> bool:
        """Return True if the other loop is a smaller one inside this one."""
        return self.begin <= other.begin and other.end <= self.end and len(other.names) < len(self.names)


def loops_of(code: str) -> list[Loop]:
    """Return the loops of one function, the shortest first."""
    found = [_INSTRUCTION.match(line) for line in code.splitlines()]
    instructions = [(int(m[1], 16), m[2], m[3]) for m in found if m is not None]
    loops = []
    for end, name, operands in instructions:
        target = re.search(r"0x([0-9a-f]+)", operands)
        if name.startswith("BRA") and target is not None and (begin := int(target[1], 16)) < end:
            inside = tuple(other for address, other, _ in instructions if begin <= address <= end)
            loops.append(Loop(begin, end, inside))
    return sorted(loops, key=lambda loop: len(loop.names))


def count_sequential(loops: Sequence[Loop]) -> StepCount:
    """Count the shortest loop that both loads and computes. It is the loop of the steady state."""
    loop = next(loop for loop in loops if loop.count("LDG") and loop.count("MUFU.EX2"))
    steps = loop.count("LDG") // _ROWS
    return StepCount(len(loop.names) / steps, loop.count("MUFU") / steps)


def count_newton(loops: Sequence[Loop]) -> StepCount:
    """Count the loop of updates, and the loop over tiles around it without the sequential fallback."""
    update = next(loop for loop in loops if loop.count("SHFL") and loop.count("MUFU.EX2"))
    tile = next(loop for loop in loops if loop.encloses(update) and loop.count("LDG"))
    failed = next(loop for loop in loops if loop.count("MUFU.EX2") and tile.encloses(loop))

    def once(name: str) -> float:
        return (tile.count(name) - update.count(name) - failed.count(name)) / _LANE_STEPS

    return StepCount(
        once(""), once("MUFU"), len(update.names) / _LANE_STEPS, update.count("MUFU") / _LANE_STEPS
    )


def count(sass: str) -> Counts:
    """Return counts by kernel ("newton 2" has two time warps), then by cell and type of bx."""
    counts: dict[str, dict[str, StepCount]] = {}
    for (kernel, name), code in _functions(sass):
        counter = count_newton if kernel.startswith("newton") else count_sequential
        counts.setdefault(kernel, {})[name] = counter(loops_of(code))
    return counts


def _functions(sass: str) -> Iterator[tuple[tuple[str, str], str]]:
    for function in sass.split("Function : ")[1:]:
        symbol, _, code = function.partition("\n")
        if (found := _KERNEL.search(symbol)) is None:
            continue
        kernel, gru, _, is_float, warps = found.groups()
        named = kernel if warps in (None, "1") else f"{kernel} {warps}"
        yield (named, f"{'gru' if gru else 'lstm'} {'float32' if is_float else 'bfloat16'}"), code


def lines(counts: Counts) -> list[str]:
    """Return the counts as a Markdown table."""
    head = "| kernel | cell, bx | issued | special | issued an update | special an update |"
    rows = (
        f"| {kernel} | {name} | " + " | ".join(f"{value:g}" for value in asdict(step).values()) + " |"
        for kernel, by_name in sorted(counts.items())
        for name, step in sorted(by_name.items())
    )
    return [head, "|---" * 6 + "|", *rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Count the instructions of the scans in a built library.")
    parser.add_argument("library", type=Path, help="libpararnn_cuda.so, or an object of it")
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--cuobjdump", default="cuobjdump", help="where it is not on the path")
    parser.add_argument("--out", type=Path, default=COUNTS_PATH)
    options = parser.parse_args(arguments)
    command = [options.cuobjdump, "-sass", "-arch", options.architecture, str(options.library)]
    counts = count(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    fields = {
        kernel: {name: asdict(step) for name, step in sorted(by_name.items())}
        for kernel, by_name in sorted(counts.items())
    }
    options.out.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    print("\n".join(lines(counts)))


if __name__ == "__main__":
    main()
