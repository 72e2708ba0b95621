"""Figures as rows of text. Times in microseconds, unless the heading says another unit."""

from __future__ import annotations

from collections.abc import Iterator

from pararnn_server.bench.table import number
from pararnn_server.bench.timing import Spread

from benchmarks.gpu.found import Found, ServedFigure
from benchmarks.gpu.limits import DeviceLimits
from benchmarks.gpu.model import PrefillFigure, StageProfile
from benchmarks.gpu.scan_problem import AUTO, SEQUENTIAL
from benchmarks.gpu.scans import LoopFigure, ScanFigure

Row = tuple[str, ...]

LIMIT_HEADINGS = ("limit of the device", "median", "least to greatest")
DECODE_HEADINGS = (
    "weights",
    "batch",
    "tokens/s",
    "us a step",
    "least to greatest",
    "of the read bandwidth",
    "of bf16's tokens/s",
    "repetitions",
)
PREFILL_HEADINGS = (
    "tokens",
    "chunk",
    "tokens/s",
    "ms",
    "products alone, ms",
    "ratio",
    "working memory, MiB",
    "repetitions",
)
SCAN_HEADINGS = (
    "cell, bx",
    "T",
    "D",
    "B",
    "sequential us",
    "of copy",
    "of its bound",
    "newton us",
    "of copy",
    "of its bound",
    "its warps",
    "updates",
    "fallbacks",
    "auto",
    "auto us",
    "auto of the best",
    "repetitions",
)
LOOP_HEADINGS = ("cell", "T", "D", "B", "loop in torch us", "auto us", "times faster", "repetitions")
STAGE_HEADINGS = ("stage", "us", "of the step")
SERVED_HEADINGS = (
    "server",
    "streams",
    "tokens/s",
    "least to greatest",
    "model alone on the same work",
    "of it",
    "first token p50 ms",
    "between p50 / p99 ms",
    "one more prompt: tokens",
    "its first token ms",
    "others meanwhile, between p99 ms",
)


def limit_rows(limits: DeviceLimits) -> Iterator[Row]:
    """Yield rows with the columns LIMIT_HEADINGS."""
    if limits.multiprocessors is not None:
        yield "multiprocessors", str(limits.multiprocessors), ""
    if limits.clock is not None:
        yield "clock", f"{limits.clock / 1e9:.3f} GHz", ""
    yield "copy bandwidth, read and written", *_scaled(limits.copy, 1e9, "GB/s")
    yield f"read bandwidth ({limits.reader})", *_scaled(limits.read, 1e9, "GB/s")
    yield "bfloat16 products", *_scaled(limits.matrix, 1e12, "Tflop/s")
    yield "a launch, one by one", *_scaled(limits.launch, 1e-6, "us")
    if limits.node is not None:
        yield "a node of a graph", *_scaled(limits.node, 1e-6, "us")


def decode_rows(found: Found) -> Iterator[Row]:
    """Yield rows with the columns DECODE_HEADINGS."""
    for each in found.decodes:
        beside = found.decode("bf16", each.batch)
        share = None if found.limits is None else each.share(found.limits.read)
        yield (
            each.weights,
            str(each.batch),
            number(each.tokens_per_second),
            *_scaled(each.seconds, 1e-6, ""),
            _percent(share) if each.batch == 1 else "",
            f"{beside.seconds.median / each.seconds.median:.2f}x" if beside else "",
            str(each.seconds.count),
        )


def prefill_row(each: PrefillFigure) -> Row:
    """Return a row with the columns PREFILL_HEADINGS."""
    return (
        f"{each.tokens:,}",
        str(each.chunk),
        number(each.tokens / each.seconds.median),
        number(each.seconds.median * 1e3),
        "" if each.products is None else number(each.products.median * 1e3),
        "" if each.ratio is None else f"{each.ratio:.2f}",
        "" if each.working is None else number(each.working / 2**20),
        str(each.seconds.count),
    )


def scan_row(found: Found, each: ScanFigure) -> Row:
    """Return a row with the columns SCAN_HEADINGS, for the fastest Newton solver."""
    shape, newton, auto = each.shape, each.newton, each.seconds[AUTO].median
    solve = None if newton is None else each.solves[newton]
    return (
        f"{shape.cell}, {shape.dtype}",
        f"{shape.tokens:,}",
        str(shape.channels),
        str(shape.sequences),
        *_solver_row(found, each, SEQUENTIAL),
        *(("", "", "") if newton is None else _solver_row(found, each, newton)),
        "" if newton is None else newton.partition(" ")[2] or "1",
        "" if solve is None else str(solve.updates),
        "" if solve is None else str(solve.fallbacks),
        each.choice,
        number(auto * 1e6),
        f"{auto / each.best:.2f}",
        str(min(spread.count for spread in each.seconds.values())),
    )


def _solver_row(found: Found, each: ScanFigure, solver: str) -> Row:
    bound = found.bound_share(each, solver)
    return (
        number(each.seconds[solver].median * 1e6),
        _percent(found.copy_share(each, solver)),
        "unknown" if bound is None else _percent(bound),
    )


def loop_row(each: LoopFigure) -> Row:
    """Return a row with the columns LOOP_HEADINGS."""
    return (
        each.shape.cell,
        str(each.shape.tokens),
        str(each.shape.channels),
        str(each.shape.sequences),
        number(each.loop.median * 1e6),
        number(each.auto.median * 1e6),
        f"{each.ratio:,.1f}x",
        str(min(each.loop.count, each.auto.count)),
    )


def stage_rows(profile: StageProfile) -> Iterator[Row]:
    """Yield rows with the columns STAGE_HEADINGS."""
    for name, seconds in profile.stages.items():
        yield name, number(seconds * 1e6), f"{seconds / profile.step:.1%}"


def served_row(each: ServedFigure) -> Row:
    """Return a row with the columns SERVED_HEADINGS."""
    speed = each.tokens_per_second
    return (
        each.label,
        str(each.streams),
        number(speed.median),
        f"{number(speed.low)} to {number(speed.high)}",
        number(each.alone.median),
        f"{each.share:.0%}",
        f"{each.first_p50 * 1e3:.0f}",
        f"{each.between_p50 * 1e3:.1f} / {each.between_p99 * 1e3:.1f}",
        f"{each.late_tokens:,}",
        "" if each.late_first is None else f"{each.late_first * 1e3:.0f}",
        "" if each.late_between_p99 is None else f"{each.late_between_p99 * 1e3:.1f}",
    )


def _scaled(spread: Spread, unit: float, name: str) -> tuple[str, str]:
    low, high = number(spread.low / unit), number(spread.high / unit)
    return f"{number(spread.median / unit)} {name}".rstrip(), f"{low} to {high}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
