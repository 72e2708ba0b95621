"""Sizes of a run: full ones, and tiny ones with which a CPU tests the benchmark in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pararnn_server.bench.core import CHUNK
from pararnn_server.bench.subject import Subject

from benchmarks.original import GPU_PROBLEMS, Problem
from pararnn_core.models.pararnn.config import ModelConfig


@dataclass(frozen=True)
class Serving:
    """A load of streams with prompt_tokens and new_tokens each; late_prompt: tokens of one late prompt."""

    streams: int
    prompt_tokens: int
    new_tokens: int
    late_prompt: int
    passes: int


@dataclass(frozen=True)
class Sizes:
    """The sizes. config: of the model in float32; lengths, widths, sequences: T, D and B of the scans.

    loop_length: T at which torch's time loop runs. prefills: tokens, and tokens of a chunk; the first chunk
    is the server's own. batches: of decodes in bfloat16, narrow_batches in integers; steps: decodes that are
    timed together. copied: bytes that measure bandwidth; matrix: rows and columns of the product that
    measures its rate. originals: what the original's code is measured on.
    """

    name: str
    config: ModelConfig
    lengths: tuple[int, ...]
    widths: tuple[int, ...]
    sequences: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]
    loop_length: int
    prefills: tuple[tuple[int, int], ...]
    longest_prompt: int
    batches: tuple[int, ...]
    narrow_batches: tuple[int, ...]
    steps: int
    serving: Serving
    copied: int
    matrix: int
    rounds: int
    originals: tuple[Problem, ...]

    def subject(self, weights: str) -> Subject:
        """Return the random model with one of Subject's weights."""
        return Subject.random_like(self.name, self.config, weights)


FULL = Sizes(
    name="random 1.4b",
    config=ModelConfig.preset("1.4b"),
    lengths=(128, 512, 2048, 8192, 65536),
    widths=(1024, 2048, 4096),
    sequences=(1, 8, 64),
    dtypes=(torch.float32, torch.bfloat16),
    loop_length=512,
    prefills=((2048, CHUNK), (8192, CHUNK), (65536, CHUNK), (8192, 2048), (65536, 2048)),
    longest_prompt=1_000_000,
    batches=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    narrow_batches=(1, 8, 32),
    steps=50,
    serving=Serving(streams=256, prompt_tokens=32, new_tokens=256, late_prompt=2000, passes=3),
    copied=2 << 30,
    matrix=8192,
    rounds=9,
    originals=GPU_PROBLEMS,
)
TINY = Sizes(
    name="random tiny",
    config=ModelConfig(cell="gru", vocab_size=512, hidden_size=64, num_hidden_layers=2, num_heads=2),
    lengths=(16, 32),
    widths=(32,),
    sequences=(1, 2),
    dtypes=(torch.float32, torch.bfloat16),
    loop_length=16,
    prefills=((600, CHUNK), (1100, CHUNK), (48, 24)),
    longest_prompt=1500,
    batches=(1, 2),
    narrow_batches=(1,),
    steps=2,
    serving=Serving(streams=2, prompt_tokens=4, new_tokens=8, late_prompt=20, passes=1),
    copied=1 << 20,
    matrix=64,
    rounds=2,
    originals=tuple(Problem(cell, 16, 8, 2) for cell in ("gru", "lstm")),
)
