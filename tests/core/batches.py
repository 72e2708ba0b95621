"""Feeding sequences to a model in tests: one packed batch per call."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.base import ServingModel
from pararnn_core.state import RecurrentState, StateSnapshot


class Chunk(NamedTuple):
    """Tokens of one sequence; `fresh` starts it from zeros."""

    slot: int
    tokens: Sequence[int]
    fresh: bool = False


def feed(model: ServingModel, state: RecurrentState, chunks: Sequence[Chunk]) -> list[Tensor]:
    """The logits of all rows, (tokens of the chunk, V) for each chunk."""
    lengths = [len(chunk.tokens) for chunk in chunks]
    tokens = torch.tensor([token for chunk in chunks for token in chunk.tokens])
    logits = model.step(
        tokens,
        torch.tensor([0, *lengths]).cumsum(0).int(),
        torch.tensor([chunk.slot for chunk in chunks], dtype=torch.int32),
        state,
        torch.tensor([not chunk.fresh for chunk in chunks]),
        torch.arange(len(tokens)),
    )
    return list(logits.split(lengths))


def poisoned(model: ServingModel, num_slots: int) -> RecurrentState:
    state = model.new_state(num_slots)
    for slot in range(num_slots):
        state.poison(slot)
    return state


def run_alone(model: ServingModel, tokens: Sequence[int]) -> tuple[Tensor, StateSnapshot]:
    """One call, one slot: the logits of all rows (T, V) and the final state."""
    state = poisoned(model, 1)
    (logits,) = feed(model, state, [Chunk(0, tokens, fresh=True)])
    return logits, state.snapshot(0)
