"""The server on the device: many streams, the model alone on the same work, and one late prompt."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from pararnn_server.bench.core import CoreRun
from pararnn_server.bench.timing import Spread

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.found import ServedFigure
from benchmarks.gpu.sizes import Sizes
from benchmarks.load import Load
from benchmarks.parts import checkpoint_of
from benchmarks.serving import Pass, ServingFigures, pararnn_server
from benchmarks.serving import measure as measure_pass
from benchmarks.stall import stall

_QUIET_SECONDS = 1.0
_FOREVER = 100_000
_SPARE_SLOTS = 8


def measure_served(sizes: Sizes, clock: DeviceClock, left: Callable[[], float]) -> ServedFigure:
    """Measure server and model in turn until time is over, at least once each, after one pass to warm up."""
    subject, plan = sizes.subject("bf16"), sizes.serving
    load = Load(plan.streams, plan.prompt_tokens, plan.new_tokens, subject.config.vocab_size)
    run = CoreRun(subject.load(device=clock.device), plan.streams, timed=clock.seconds)
    alone = run.generate(plan.streams, plan.prompt_tokens, plan.new_tokens)
    slots = plan.streams + _SPARE_SLOTS
    with (
        tempfile.TemporaryDirectory() as folder,
        pararnn_server(
            checkpoint_of(subject, Path(folder)),
            len(os.sched_getaffinity(0)),
            device=clock.device.type,
            max_num_seqs=slots,
        ) as server,
    ):
        passes: list[Pass] = []
        rates: list[float] = []
        for turn in range(plan.passes + 1):
            if turn > 1 and left() <= 0:
                break
            each, taken = measure_pass(server.port, load, seed=turn), alone()
            if turn:
                passes.append(each)
                rates.append(plan.streams * plan.new_tokens / taken)
        late = None
        if left() > 0:
            endless = Load(plan.streams, plan.prompt_tokens, _FOREVER, subject.config.vocab_size)
            prompt = Load(1, plan.late_prompt, 1, subject.config.vocab_size)
            late = asyncio.run(stall(server.port, endless, prompt, _QUIET_SECONDS, 2 * plan.passes))
    figures = ServingFigures.of(plan.streams, passes)
    return ServedFigure(
        label=subject.label,
        streams=plan.streams,
        tokens_per_second=figures.tokens_per_second,
        alone=Spread.of(rates),
        first_p50=figures.ttft_p50,
        between_p50=figures.itl_p50,
        between_p99=figures.itl_p99,
        late_tokens=plan.late_prompt,
        late_first=None if late is None else late.first,
        late_between_p99=None if late is None else late.busy_p99,
    )
