"""Time of the stages of a decode step, beside the least time in which their weights can be read.

python -m benchmarks.step_profile --models 25m 406m --weights int8
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from pararnn_server.bench.limits import read_bandwidth
from pararnn_server.bench.subject import WEIGHTS, Subject

from pararnn_core import ops
from pararnn_core.models.pararnn.layer_tensors import EMBEDDING, HEAD
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

_STEPS = 40
_WARM_UP = 5
_PYTHON = "call from Python"
_STAGE_OF = {
    "in_proj.weight": "in_proj",
    "cell.B": "cell input",
    "out_proj.weight": "out_proj",
    "mlp.gate_proj.weight": "gate_proj, up_proj",
    "mlp.up_proj.weight": "gate_proj, up_proj",
    "mlp.down_proj.weight": "down_proj",
}


@dataclass(frozen=True)
class Profile:
    """A profile: median seconds of a step. stages: by name, in order; nbytes: of the weights of a stage."""

    step: float
    stages: Mapping[str, float]
    nbytes: Mapping[str, int]

    def rows(self, bandwidth: float) -> Iterator[tuple[str, float, float, float]]:
        """Yield name, microseconds, share of the step, share of the read bandwidth (0 without weights)."""
        for name, seconds in self.stages.items():
            read = self.nbytes.get(name, 0) / bandwidth
            yield name, seconds * 1e6, seconds / self.step, read / seconds


def profile(model: ParaRNNForCausalLM, batch: int, steps: int = _STEPS) -> Profile:
    """Profile steps of one token for each of `batch` sequences. The first ones are not counted."""
    state = model.new_state(batch)
    tokens = torch.arange(batch) % model.config.vocab_size
    bounds, slots = torch.arange(batch + 1, dtype=torch.int32), torch.arange(batch, dtype=torch.int32)
    step, stages = stage_medians(
        lambda seconds: model(tokens, bounds, slots, state, stage_seconds=seconds), steps
    )
    return Profile(step, stages, _nbytes(model))


def stage_medians(
    step: Callable[[torch.Tensor], object], steps: int = _STEPS
) -> tuple[float, dict[str, float]]:
    """Measure a step that adds the seconds of its stages to its argument. The first ones are not counted.

    Returns the median of the step and of each stage, with the call from Python as one more stage.
    """
    taken: list[tuple[float, list[float]]] = []
    for _ in range(_WARM_UP + steps):
        seconds = torch.zeros(len(ops.STEP_STAGES), dtype=torch.float64)
        start = time.perf_counter()
        step(seconds)
        taken.append((time.perf_counter() - start, seconds.tolist()))
    kept = taken[_WARM_UP:]
    columns = zip(*(each for _, each in kept), strict=True)
    stages = dict(zip(ops.STEP_STAGES, map(statistics.median, columns), strict=True))
    stages[_PYTHON] = statistics.median(whole - sum(each) for whole, each in kept)
    return statistics.median(whole for whole, _ in kept), stages


def _nbytes(model: ParaRNNForCausalLM) -> dict[str, int]:
    """Return the bytes of the matrices of each stage."""
    sizes = dict.fromkeys(_STAGE_OF.values(), 0)
    for name, matrix in model.serving_form().matrices():
        head = name == (EMBEDDING if model.config.tie_embeddings else HEAD)
        stage = "head" if head else _STAGE_OF.get(name.split(".", 2)[-1])
        if stage is not None:
            sizes[stage] += matrix.data.numel()
    return sizes


def _table(label: str, batch: int, result: Profile, bandwidth: float) -> str:
    head = f"{label}, batch {batch}: {result.step * 1e6:,.0f} us a step, {bandwidth / 1e9:.1f} GB/s to read"
    lines = [head, "", "| stage | us | of the step | of the read bandwidth |", "|---|---|---|---|"]
    for name, micros, share, of_bandwidth in result.rows(bandwidth):
        reads = f"{of_bandwidth:.0%}" if of_bandwidth else ""
        lines.append(f"| {name} | {micros:,.1f} | {share:.1%} | {reads} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Profile one decode step of random models, stage by stage.")
    parser.add_argument("--models", nargs="+", default=["25m", "406m"], help="presets")
    parser.add_argument("--weights", nargs="+", default=["int8"], choices=WEIGHTS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1])
    options = parser.parse_args(arguments)
    for preset, weights in itertools.product(options.models, options.weights):
        subject = Subject.random(preset, weights)
        model = subject.load()
        for batch in options.batch:
            bandwidth = read_bandwidth(subject.decode_bytes).median
            print(
                _table(subject.label, batch, profile(model, batch), bandwidth),
                end="\n\n",
            )


if __name__ == "__main__":
    main()
