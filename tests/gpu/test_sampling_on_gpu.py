"""A table on a GPU draws the ids that one on the CPU draws from the same logits, and moves on alike."""

from typing import Any

import numpy as np
import pytest
import torch

from pararnn_core.sampling.mask_words import MaskWords, num_words
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.sampling_params import SamplingParams

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"top_p": 0.9},
    {"top_k": 30, "temperature": 0.7},
    {"top_k": 5, "top_p": 0.5, "min_p": 0.02},
    {"presence_penalty": 0.5, "frequency_penalty": 0.1},
    {"repetition_penalty": 1.2, "top_p": 0.8},
    {"logit_bias": {5: 4.0, 3: -100.0}, "temperature": 1.5},
    {"temperature": 1e-3, "top_p": 0.99},
]


def random_mask(seed: int, vocab: int) -> MaskWords:
    """About half of the ids, and id 0."""
    words = np.random.default_rng(seed).integers(-(2**31), 2**31, num_words(vocab)).astype(np.int32)
    words[0] |= 1
    return words


@pytest.mark.parametrize("vocab", [1, 300, 50432])
def test_ids_of_many_steps_are_those_of_the_cpu(vocab: int) -> None:
    count = 2 * len(KINDS)
    tables = [SamplingTable(count, vocab), SamplingTable(count, vocab, "cuda")]
    for slot in range(count):
        kind = {**KINDS[slot % len(KINDS)], "seed": slot}
        if vocab == 1:
            kind.pop("logit_bias", None)
        for table in tables:
            table.start(slot, SamplingParams(**kind))
    rows, slots = torch.arange(count), torch.arange(count, dtype=torch.int32)
    generator = torch.Generator().manual_seed(1)
    seen = torch.randint(0, 256, (count, (vocab + 7) // 8), dtype=torch.uint8, generator=generator)
    for step in range(12):
        logits = torch.randn(count, vocab, generator=generator) * 4
        logits[::3] = logits[::3].round()
        for slot in range(step % 2, count, 3):
            words = None if step % 4 == 3 else random_mask(slot + step, vocab)
            for table in tables:
                table.set_mask(slot, words)
        here = tables[0].sample(logits, rows, slots, seen)
        assert tables[1].sample(logits.cuda(), rows, slots, seen.cuda()) == here
        if step == 5:
            for table in tables:
                table.clear(3)
                table.start(3, SamplingParams(seed=77, frequency_penalty=0.3))


def test_rows_that_are_not_finite_give_no_id() -> None:
    logits = torch.randn(4, 1000)
    logits[1, 999], logits[2, 0], logits[3] = torch.nan, torch.inf, -torch.inf
    table = SamplingTable(4, 1000, "cuda")
    for slot in range(4):
        table.start(slot, SamplingParams(seed=slot))
    seen = torch.zeros(0, 125, dtype=torch.uint8, device="cuda")
    ids = table.sample(logits.cuda(), torch.arange(4), torch.arange(4, dtype=torch.int32), seen)
    assert ids[0] >= 0
    assert ids[1:] == [-1, -1, -1]
