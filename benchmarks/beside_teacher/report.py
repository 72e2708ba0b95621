"""The table of both models."""

from __future__ import annotations

from collections.abc import Sequence

from pararnn_server.bench.machine import Machine
from pararnn_server.bench.table import markdown

from benchmarks.beside_teacher.points import TEACHER_CONTEXT, Point

HEADINGS = (
    "tokens of context",
    "memory",
    "teacher's",
    "tokens/s, decoding",
    "teacher's",
    "tokens/s, reading",
    "teacher's",
    "perplexity",
    "teacher's",
)


def table(ours: Sequence[Point], its: Sequence[Point], machine: Machine, threads: int, version: str) -> str:
    """Return a Markdown page. its: the teacher's points, the first of the same contexts."""
    by_tokens = {point.tokens: point for point in its}
    rows = [_row(point, by_tokens.get(point.tokens)) for point in ours]
    return f"""# The chat model beside its teacher

{machine.cpu}, {threads} threads, load {machine.load} at the end. The teacher, SmolLM2-135M-Instruct in Q4_1,
runs under llama.cpp ({version}, float16 cache). It was trained for contexts of {TEACHER_CONTEXT:,} tokens.
The perplexity is that of the same passages after each context. Their text does not continue the context.

{markdown(HEADINGS, rows)}
"""


def _row(ours: Point, its: Point | None) -> list[str]:
    cells = [f"{ours.tokens:,}"]
    for digits, name in ((0, "memory"), (0, "decode_rate"), (0, "read_rate"), (2, "perplexity")):
        cells.append(f"{getattr(ours, name):,.{digits}f}")
        cells.append("" if its is None else f"{getattr(its, name):,.{digits}f}")
    return cells
