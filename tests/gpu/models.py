"""Random models and batches that need nothing but torch: the machine with the GPU may have no more."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.state import RecurrentState
from tests.core.batches import Chunk, feed

DEVICE = "cuda"
VOCAB_SIZE = 300
GRAPHED = ([3, 1, 4], [5], [9, 2], [6], [5, 3, 5], [8], [9, 7])
"""Tokens of decodes in slots 0 and up."""


def random_model(cell: str, **over: Any) -> ParaRNNForCausalLM:
    """d 64, 2 layers; logits of a few units. The same weights each time, in `dtype` of the config."""
    values: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_heads": 2,
        "intermediate_size": 96,
        "activation_dtype": "float32",
    }
    config = ModelConfig(cell=cell, **{**values, **over})
    torch.manual_seed(7)
    model = ParaRNNForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("proj.weight", "embedding.weight", "lm_head.weight")):
                parameter.normal_(std=parameter.shape[1] ** -0.5)
            elif name.endswith(("bias", "cell.b")):
                parameter.normal_(std=0.5)
    return model.to(getattr(torch, config.dtype)).eval()


def on_gpu(cell: str, **over: Any) -> ParaRNNForCausalLM:
    """The same model on the device, ready to serve."""
    return random_model(cell, **over).to(DEVICE).pack()


def tokens(count: int, seed: int = 0) -> list[int]:
    return [(7 * i + 13 * seed) % VOCAB_SIZE for i in range(count)]


STEPS: tuple[list[Chunk], ...] = (
    [Chunk(3, tokens(40), True), Chunk(-1, tokens(3), True), Chunk(0, tokens(1, 1), True)],
    [Chunk(0, tokens(1, 2)), Chunk(3, tokens(1, 3)), Chunk(1, tokens(200, 4), True)],
    [Chunk(1, tokens(5, 5)), Chunk(-1, tokens(1)), Chunk(3, tokens(2, 6))],
)
"""Ragged, with skipped sequences and one that starts anew in a slot that nothing cleared."""


def poisoned_state(model: ParaRNNForCausalLM, num_slots: int = 5) -> RecurrentState:
    state = model.new_state(num_slots)
    for slot in range(num_slots):
        state.poison(slot)
    return state


def run_steps(
    model: ParaRNNForCausalLM, state: RecurrentState, steps: Sequence[Sequence[Chunk]] = STEPS
) -> list[Tensor]:
    """Logits of all rows that mean something, on the host."""
    return [
        logits.cpu()
        for step in steps
        for chunk, logits in zip(step, feed(model, state, step), strict=True)
        if chunk.slot >= 0
    ]


def decode(model: ParaRNNForCausalLM, state: RecurrentState, ids: Sequence[int]) -> Tensor:
    """One token for each of the first slots, from what they hold."""
    bounds = torch.arange(len(ids) + 1, dtype=torch.int32)
    return model(torch.tensor(ids), bounds, bounds[:-1].contiguous(), state)
