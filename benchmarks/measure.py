"""All measurements of one model, within its share of the time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.breakdown import breakdown
from benchmarks.core import CHUNK, CoreRun
from benchmarks.filler_tokenizer import write_filler_tokenizer
from benchmarks.limits import MatrixProduct, Reader
from benchmarks.load import Load
from benchmarks.report import CoreFigure, SubjectResult
from benchmarks.serving import Pass, ServingFigures, measure, serving
from benchmarks.subjects import DTYPES, Subject
from benchmarks.timing import Spread, interleaved
from pararnn_core.checkpoint import save_checkpoint
from pararnn_core.state import state_bytes

PREFILLS = (512, 2048)
BATCHES = (1, 8, 32, 64)
STREAMS = (1, 8, 64)
_READS = {"read, small pages": False, "read, huge pages": True}


@dataclass(frozen=True)
class Plan:
    """threads: of the kernels, the reader and torch. rounds: at most. new_tokens: per stream."""

    threads: int
    rounds: int
    prompt_tokens: int
    new_tokens: int


def measure_core(
    subject: Subject, plan: Plan, deadline: float, progress: Callable[[str], None]
) -> SubjectResult:
    """The model alone beside the machine's limits, all interleaved."""
    run = CoreRun(subject.load(), max(BATCHES))
    readers = {
        name: Reader(subject.decode_bytes, plan.threads, huge_pages=huge) for name, huge in _READS.items()
    }
    products = {name: MatrixProduct(getattr(torch, name)) for name in DTYPES}
    cases = {
        **{name: reader.repeat for name, reader in readers.items()},
        **{f"products, {name}": product.repeat for name, product in products.items()},
        **{f"prefill, {length} tokens": run.prefill(length) for length in PREFILLS},
        **{f"decode, batch {batch}": run.decode(batch) for batch in BATCHES},
    }
    times = interleaved(cases, rounds=plan.rounds, deadline=deadline, progress=progress)
    bandwidth = max(
        (_rate(times[name], reader.bytes_per_repetition) for name, reader in readers.items()),
        key=lambda rate: rate.median,
    )
    rates = {name: _rate(times[f"products, {name}"], product.flops) for name, product in products.items()}
    progress("prefill, by kind of operation")
    return SubjectResult(
        name=subject.name,
        cell=subject.config.cell,
        dtype=subject.config.dtype,
        num_parameters=subject.num_parameters,
        decode_bytes=subject.decode_bytes,
        state_bytes=state_bytes(subject.config),
        read_bandwidth=bandwidth,
        matrix_rates=rates,
        core=_core_figures(subject, times, bandwidth.median, max(rate.median for rate in rates.values())),
        prefill_shares=breakdown(run.prefill(CHUNK)),
    )


def measure_serving(
    subject: Subject, plan: Plan, deadline: float, progress: Callable[[str], None]
) -> list[ServingFigures]:
    """The same model behind `pararnn serve`: the median of passes, at least one, until the deadline."""
    loads = [
        Load(streams, plan.prompt_tokens, plan.new_tokens, subject.config.vocab_size) for streams in STREAMS
    ]
    passes: dict[int, list[Pass]] = {streams: [] for streams in STREAMS}
    with tempfile.TemporaryDirectory() as folder:
        progress("starting the server")
        with serving(_checkpoint(subject, Path(folder)), plan.threads) as port:
            measure(port, loads[0], seed=0)
            for turn in range(plan.rounds):
                if turn and time.monotonic() > deadline:
                    break
                for load in loads:
                    progress(f"{load.streams} streams: {turn + 1} of {plan.rounds}")
                    passes[load.streams].append(measure(port, load, seed=turn + 1))
    return [ServingFigures.of(streams, each) for streams, each in passes.items()]


def _core_figures(
    subject: Subject, times: dict[str, Spread], bandwidth: float, matrix_rate: float
) -> list[CoreFigure]:
    work = [(f"prefill, {n} tokens", n, subject.prefill_flops(n)) for n in PREFILLS]
    work += [(f"decode, batch {batch}", batch, subject.decode_flops(batch)) for batch in BATCHES]
    return [
        _core_figure(name, tokens, times[name], subject.decode_bytes / bandwidth, flops / matrix_rate)
        for name, tokens, flops in work
    ]


def _core_figure(name: str, tokens: int, taken: Spread, reading: float, multiplying: float) -> CoreFigure:
    """reading, multiplying: the least seconds that the machine needs for the weights and for the products."""
    return CoreFigure(
        measured=name,
        tokens_per_second=taken.map(lambda seconds: tokens / seconds),
        limit=tokens / max(reading, multiplying),
        limited_by="read bandwidth" if reading > multiplying else "matrix rate",
    )


def _rate(taken: Spread, amount: float) -> Spread:
    return taken.map(lambda seconds: amount / seconds)


def _checkpoint(subject: Subject, folder: Path) -> Path:
    """Where the model lies; a random one is saved in the folder."""
    if subject.path is not None:
        return subject.path
    tokenizer = write_filler_tokenizer(folder / "tokenizer.json", subject.config.vocab_size)
    path = folder / subject.name.replace(" ", "-")
    save_checkpoint(subject.load(pack=False), path, tokenizer=tokenizer)
    return path
