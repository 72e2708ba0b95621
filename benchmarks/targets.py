"""Targets of the figures: shares of the machine's limits, and the best peer of the same run."""

from __future__ import annotations

from collections.abc import Iterator

from pararnn_server.bench.measure import Figure

from benchmarks.groups import groups
from benchmarks.parts import Found, Served
from benchmarks.target import Target

_BUDGET_BYTES = 400 << 20
_PEER_OF = {size.name: group.name for group in groups() for size, _ in group.peers}
_COMPARED = ("bf16", "int8", "int4")


def targets(found: Found) -> list[Target]:
    """Return the targets that this run can check. The value is None if a figure or peer is absent."""
    return [
        *_bandwidth_targets(found.figures),
        *_peer_targets(found.figures),
        *_batch_targets(found.figures),
        *_original_targets(found),
        *_server_targets(found),
        *_start_targets(found),
        *_session_targets(found),
    ]


def _bandwidth_targets(figures: list[Figure]) -> Iterator[Target]:
    for preset in ("130m", "406m", "1.4b"):
        for weights, wanted in (("bf16", 0.85), ("int8", 0.85), ("int4", 0.65)):
            own = _own(figures, preset, weights, "decode b1")
            yield Target(f"{preset} {weights}, decode b1, share of the limit", _share(own), wanted)


def _peer_targets(figures: list[Figure]) -> Iterator[Target]:
    for preset in ("25m", "130m", "406m", "1.4b"):
        for weights in _COMPARED:
            own = _own(figures, preset, weights, "decode b1")
            best = _best(figures, preset, "decode b1", weights)
            yield Target(f"{preset} {weights}, decode b1, of the best peer's", _ratio(own, best), 2.0)
    for preset in ("130m", "406m"):
        own = _own(figures, preset, "int8", "prefill 512")
        best = _best(figures, preset, "prefill 512")
        yield Target(f"{preset} int8, prefill 512, of the best peer's in any format", _ratio(own, best), 1.5)


def _batch_targets(figures: list[Figure]) -> Iterator[Target]:
    for weights, wanted in (("int8", 5.0), ("int4", 3.0)):
        alone, many = (_own(figures, "130m", weights, f"decode b{batch}") for batch in (1, 32))
        yield Target(f"130m {weights}, decode b32, of b1's", _ratio(many, alone), wanted)


def _original_targets(found: Found) -> Iterator[Target]:
    ratios = [each.ratio for each in found.original]
    what = "a cell at equal accuracy, of the original's in PyTorch, its worst"
    yield Target(what, min(ratios, default=None), 3.0)


def _server_targets(found: Found) -> Iterator[Target]:
    own = next((each for each in found.served if "130m" in each.label and not each.is_peer), None)
    engine = _own(found.figures, "130m", "int8", "decode b32")
    rate = None if own is None else _rate(own)
    share = rate / engine.tokens_per_second.median if rate and engine else None
    yield Target("130m int8, server of 32 streams, of the model's decode b32 (no prompts)", share, 0.8)
    same_work = rate / own.alone.median if rate and own and own.alone else None
    yield Target("130m int8, server of 32 streams, of the model alone on the same work", same_work, 0.8)
    peers = [_rate(each) for each in found.served if each.is_peer]
    best = rate / max(peers) if rate and peers else None
    yield Target("130m int8, server of 32 streams, of the best llama-server's", best, 2.0)
    worst = max((each.busy_p99 / each.quiet_median for each in own.stalls), default=None) if own else None
    yield Target(
        "between tokens while a long prompt is read, p99 of its quiet median", worst, 3.0, at_most=True
    )


def _start_targets(found: Found) -> Iterator[Target]:
    for each in found.starts:
        yield Target(f"{each.label}, server ready", each.ready_seconds, 3.0, at_most=True, unit="s")
        beyond = (each.resident_bytes - each.weight_bytes - each.session_bytes) / _BUDGET_BYTES
        yield Target(
            f"{each.label}, memory beyond weights and sessions, of 400 MiB", beyond, 1.0, at_most=True
        )


def _session_targets(found: Found) -> Iterator[Target]:
    for parked in found.parked:
        count, size = f"{parked.sessions:,} waiting sessions", parked.state_bytes
        yield Target(
            f"{count}, resident memory of their states' size", parked.resident / size, 1.05, at_most=True
        )
        yield Target(f"{count}, store of their states' size", parked.store / size, 1.2, at_most=True)
    for label, each in found.conversations:
        chat = f"{label}, chat {each.kind}"
        yield Target(f"{chat}, first token of turn {each.turns}, of turn 2's", each.ratio, 1.1, at_most=True)
        # The waiting sessions have the 130m preset's size, so their commits are compared with its turns.
        for parked in found.parked if "130m" in label else ():
            share = parked.commit_p50 / each.turn
            yield Target(f"{chat}, commit, of a 64-token turn", share, 0.05, at_most=True)


def _own(figures: list[Figure], preset: str, weights: str, test: str) -> Figure | None:
    label = f"random {preset} gru {weights}"
    return next((each for each in figures if (each.label, each.test) == (label, test)), None)


def _best(figures: list[Figure], preset: str, test: str, weights: str | None = None) -> Figure | None:
    """Return the fastest peer of a preset, in one format or in any; None if there is none."""
    beside = [
        each
        for each in figures
        if each.is_peer
        and each.test == test
        and weights in (None, each.weights)
        and _PEER_OF[" ".join(each.label.split()[1:3])] == preset
    ]
    return max(beside, key=lambda each: each.tokens_per_second.median, default=None)


def _share(figure: Figure | None) -> float | None:
    return None if figure is None else figure.share


def _ratio(own: Figure | None, other: Figure | None) -> float | None:
    if own is None or other is None:
        return None
    return own.tokens_per_second.median / other.tokens_per_second.median


def _rate(served: Served) -> float:
    """Return the tokens per second of the load of 32 streams."""
    return next(each.tokens_per_second.median for each in served.loads if each.streams == 32)
