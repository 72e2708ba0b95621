"""A random model on the device: decodes of many batch sizes, prefills, and the stages of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pararnn_server.bench.core import CHUNK, CoreRun
from pararnn_server.bench.subject import Subject
from pararnn_server.bench.timing import Repetition, Spread

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.products import ProductsAlone
from benchmarks.gpu.sizes import Sizes
from benchmarks.step_profile import stage_medians
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

_PROFILED_STEPS = 9


@dataclass(frozen=True)
class DecodeFigure:
    """A decode. seconds: of one step; nbytes: of the stored weights that it reads."""

    weights: str
    batch: int
    seconds: Spread
    nbytes: int

    @property
    def tokens_per_second(self) -> float:
        """Median tokens per second of all sequences together."""
        return self.batch / self.seconds.median

    def share(self, read: Spread) -> float:
        """Return the rate of reading the weights as a share of the read bandwidth in bytes per second."""
        return self.nbytes / self.seconds.median / read.median


@dataclass(frozen=True)
class PrefillFigure:
    """A prefill of one sequence, in chunks. seconds: of the model; products: of the products alone, or None.

    working: most bytes in use beside weights and states, None on a CPU
    """

    tokens: int
    chunk: int
    seconds: Spread
    products: Spread | None
    working: int | None

    @property
    def ratio(self) -> float | None:
        """Time of the model divided by that of the products."""
        return None if self.products is None else self.seconds.median / self.products.median


@dataclass(frozen=True)
class StageProfile:
    """Seconds of a step and of its stages. It waits for each stage, so the step is slower than others."""

    what: str
    step: float
    stages: dict[str, float]


def measure_decodes(sizes: Sizes, clock: DeviceClock, time_limit: float) -> list[DecodeFigure]:
    """Measure all formats in turn: bfloat16 at every batch size, integers at some."""
    cases: dict[str, Repetition] = {}
    figures: dict[str, tuple[Subject, int]] = {}
    for weights in ("bf16", "int8", "int4"):
        subject = sizes.subject(weights)
        batches = sizes.batches if weights == "bf16" else sizes.narrow_batches
        run = CoreRun(subject.load(device=clock.device), max(batches), timed=clock.seconds)
        for batch in batches:
            name = f"{weights} {batch}"
            cases[name], figures[name] = run.decode(batch, sizes.steps), (subject, batch)
    taken = clock.compare(cases, sizes.rounds, time_limit)
    return [
        DecodeFigure(subject.weights, batch, taken[name], subject.decode_bytes)
        for name, (subject, batch) in figures.items()
    ]


def measure_prefills(
    sizes: Sizes,
    clock: DeviceClock,
    figures: list[PrefillFigure],
    notes: list[str],
    left: Callable[[], float],
) -> None:
    """Measure each length and chunk and its products, the longest last."""
    subject = sizes.subject("bf16")
    model = subject.load(device=clock.device)
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    most = max(chunk for _, chunk in sizes.prefills)
    products = ProductsAlone(subject.config, dtype, clock.device, most)
    _warm_up(model, most)
    for tokens, chunk in sizes.prefills:
        if left() <= 0:
            notes.append(
                f"Left out for want of time: prefills from {tokens:,} tokens in chunks of {chunk} on."
            )
            return
        run = CoreRun(model, 1, chunk, clock.seconds)
        cases = {
            "model": run.prefill(tokens),
            "products": _alone(products, tokens, chunk, clock),
        }
        working = _working_memory(cases["model"], clock.device)
        taken = clock.compare(cases, sizes.rounds, left())
        figures.append(PrefillFigure(tokens, chunk, taken["model"], taken["products"], working))


def measure_longest(sizes: Sizes, clock: DeviceClock, figures: list[PrefillFigure]) -> None:
    """Measure the longest prefill once, without its products. Its memory is the figure of interest."""
    model = sizes.subject("bf16").load(device=clock.device)
    _warm_up(model, CHUNK)
    prefill = CoreRun(model, 1, timed=clock.seconds).prefill(sizes.longest_prompt)
    taken: list[float] = []
    working = _working_memory(lambda: taken.append(prefill()), clock.device)
    figures.append(PrefillFigure(sizes.longest_prompt, CHUNK, Spread.of(taken), None, working))


def measure_stages(sizes: Sizes, clock: DeviceClock) -> list[StageProfile]:
    """Measure the stages of a decode at batch 1 and of a chunk of a prompt, without graphs."""
    model = sizes.subject("bf16").load(device=clock.device)
    chunk = sizes.prefills[0][1]
    return [
        _profile("one decode, batch 1", model, 1),
        _profile(f"a chunk of {chunk} tokens", model, chunk),
    ]


def _profile(what: str, model: ParaRNNForCausalLM, tokens: int) -> StageProfile:
    state = model.new_state(1)
    ids = torch.arange(tokens) % model.config.vocab_size
    bounds, slots = torch.tensor([0, tokens], dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    step, stages = stage_medians(
        lambda taken: model(ids, bounds, slots, state, stage_seconds=taken), _PROFILED_STEPS
    )
    return StageProfile(what, step, stages)


def _alone(products: ProductsAlone, tokens: int, chunk: int, clock: DeviceClock) -> Repetition:
    return lambda: clock.seconds(lambda: products.prefill(tokens, chunk))


def _warm_up(model: ParaRNNForCausalLM, tokens: int) -> None:
    """Run the model once, because libraries of products allocate memory at their first call."""
    CoreRun(model, 1, tokens).prefill(tokens)()
    model.wait()


def _working_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Return the peak of torch's memory during `work`, beyond the memory in use before."""
    if device.type != "cuda":
        work()
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
