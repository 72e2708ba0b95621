"""The page with the table of both models."""

from __future__ import annotations

from pararnn_server.bench.table import markdown

from benchmarks.beside_teacher.points import DECODED, ROUNDS, TEACHER_CONTEXT, TURN, Point
from benchmarks.beside_teacher.results_file import Part, Results

HEADINGS = (
    "tokens of context",
    "memory, bytes",
    "teacher's",
    "tokens/s, decoding",
    "teacher's",
    "ratio",
    "tokens/s, reading",
    "teacher's",
    "perplexity",
    "teacher's",
)


def page(results: Results) -> str:
    """Return a Markdown page."""
    settings = results.settings
    parts = [(f"{part.ours.tokens:,}", part.began, f"{part.load:.2f}") for part in results.parts]
    return f"""# The chat model beside its teacher

{settings["machine"]}, {settings["threads"]} threads. The chat model is {settings["model"]}.
The teacher is SmolLM2-135M-Instruct in Q4_1, trained for contexts of {TEACHER_CONTEXT:,} tokens.
It runs under {settings["llama.cpp"]}, with a float16 cache and without flash attention,
with which it decodes slower. Its build uses
{settings["features"]}.

    {settings["command"]}

Both models read the same token ids on the same threads, in turns of {TURN:,} tokens.
A rate of reading is that of the median turn since the row before.
A rate of decoding is the median of {ROUNDS} rounds of {DECODED} tokens, in turn.
The perplexity is that of {settings["passages"]} passages of {settings["passage"]} tokens.
They do not continue the context, and are the same for each context.
The memory of other models, at any context: {settings["others"]}.

{markdown(HEADINGS, [_row(part) for part in results.parts])}

Each row is a part of the run: both models, in turn, at one time. The load is that of the minute before.

{markdown(("tokens of context", "began", "load"), parts)}
"""


def _row(part: Part) -> list[str]:
    ours, its = part.ours, part.its

    def both(name: str, digits: int) -> list[str]:
        return [_number(ours, name, digits), _number(its, name, digits)]

    ratio = "" if its is None else f"{ours.decode_rate / its.decode_rate:.2f}"
    return [
        f"{ours.tokens:,}",
        *both("memory", 0),
        *both("decode_rate", 0),
        ratio,
        *both("read_rate", 0),
        *both("perplexity", 2),
    ]


def _number(point: Point | None, name: str, digits: int) -> str:
    return "" if point is None else f"{getattr(point, name):,.{digits}f}"
