"""Targets of the figures of a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pararnn_server.bench.core import CHUNK

from benchmarks.gpu.found import Found
from benchmarks.gpu.scan_problem import AUTO, SEQUENTIAL
from benchmarks.gpu.scans import ScanFigure
from benchmarks.target import Target

FULL_CHANNELS = 1 << 17
"""Sequences times channels from which on the sequential scan fills the chip."""

LONG = 2048
"""Tokens from which on Newton is compared with its bound, if it is the fastest solver."""

PAPER = {"gru": 447.0, "lstm": 665.0}
"""Speedup of the paper's kernels over a time loop in torch at 512 tokens."""


def targets(found: Found) -> list[Target]:
    """Return all targets; figures that this run did not measure are None."""
    return [*_model_targets(found), *_scan_targets(found), *_server_targets(found)]


def _model_targets(found: Found) -> Iterator[Target]:
    alone = found.decode("bf16", 1)
    share = alone.share(found.limits.read) if alone and found.limits else None
    yield Target("bf16 decode, batch 1, share of the read bandwidth", share, 0.7)
    for weights, wanted in (("int8", 1.6), ("int4", 2.4)):
        narrow = found.decode(weights, 1)
        ratio = alone.seconds.median / narrow.seconds.median if alone and narrow else None
        yield Target(f"{weights} decode, batch 1, of bf16's tokens/s", ratio, wanted)
    ratios = [each.ratio for each in found.prefills if each.ratio is not None]
    yield Target("bf16 prefill, the slowest of its products alone", _worst(ratios), 1.25, at_most=True)
    working = [each.working for each in found.prefills if each.chunk == CHUNK and each.working]
    growth = max(working) / min(working) if len(working) > 1 else None
    yield Target("prefill, working memory, most of least over all lengths", growth, 1.05, at_most=True)


def _scan_targets(found: Found) -> Iterator[Target]:
    full = [each for each in found.scans if each.shape.sequences * each.shape.channels >= FULL_CHANNELS]
    shares = _known(found.copy_share(each, SEQUENTIAL) for each in full)
    yield Target(
        f"sequential, least share of the copy bandwidth from {FULL_CHANNELS:,} channels on",
        min(shares, default=None),
        0.6,
    )
    shares = _known(
        found.bound_share(each, solver)
        for each in found.scans
        if (solver := _winning_newton(each)) is not None
    )
    yield Target(
        f"newton, least share of its instruction bound from {LONG:,} tokens on if it is the fastest solver",
        min(shares, default=None),
        0.6,
    )
    ratios = [each.seconds[AUTO].median / each.best for each in found.scans if each.solves]
    yield Target("auto, at worst against the fastest solver", _worst(ratios), 1.1, at_most=True)
    worst = min((each.ratio for each in found.originals), default=None)
    yield Target("a scan at equal accuracy, of the original's fused kernel, its worst", worst, 3.0)
    for cell, wanted in PAPER.items():
        best = max((each.ratio for each in found.loops if each.shape.cell == cell), default=None)
        yield Target(f"{cell}, auto, of a time loop in torch, its best shape", best, wanted)


def _server_targets(found: Found) -> Iterator[Target]:
    (served,) = found.served or (None,)
    streams = served.streams if served else None
    engine = found.decode("bf16", streams) if streams else None
    share = served.tokens_per_second.median / engine.tokens_per_second if served and engine else None
    yield Target("server, all streams, of the model's decodes of that batch (no prompts)", share, 0.9)
    yield Target(
        "server, all streams, of the model alone on the same work", served.share if served else None, 0.9
    )


def _winning_newton(figure: ScanFigure) -> str | None:
    """Return the fastest Newton solver if sequences are long and no other solver is faster."""
    solver = figure.newton
    if solver is None or figure.shape.tokens < LONG or figure.seconds[solver].median > figure.best:
        return None
    return solver


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _worst(values: list[float]) -> float | None:
    return max(values, default=None)
