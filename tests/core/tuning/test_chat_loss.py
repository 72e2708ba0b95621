"""The gradient of the initial state, and the agreement of the trainer's forward with serving."""

from array import array
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from pararnn_core.cells import CELLS
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.tuning.chat_loss import Chat, summed_loss
from pararnn_core.tuning.start_state import StartState
from tests.fixtures import tiny_model

CHATS = [
    Chat(array("i", [5, 80, 33, 7, 120, 9, 2]), bytes([0, 0, 0, 1, 1, 0, 1])),
    Chat(array("i", [6, 81, 34]), bytes([0, 1, 1])),
]


def drawn_start(model: ParaRNNForCausalLM, dtype: torch.dtype = torch.float32) -> StartState:
    start = StartState(model.state_parts, dtype)
    generator = torch.Generator().manual_seed(1)
    start.set({name: torch.randn(value.shape, generator=generator) for name, value in start.values.items()})
    return start


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_is_that_of_finite_differences_in_float64(cell: str) -> None:
    model = tiny_model(cell, hidden_size=8, intermediate_size=12).double().requires_grad_(False)
    start = drawn_start(model, torch.float64)
    summed_loss(model, CHATS, start).backward()
    step, generator = 1e-5, torch.Generator().manual_seed(2)
    for name, value in start.values.items():
        assert value.grad is not None
        assert value.grad.abs().max() > 1e-3, name
        was = value.detach().clone()
        # Random directions reach every number with few evaluations.
        for _ in range(3):
            along = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            sides = []
            for side in (step, -step):
                value.data = was + side * along
                sides.append(summed_loss(model, CHATS, start).item())
            value.data = was
            expected = (sides[0] - sides[1]) / (2 * step)
            assert (value.grad * along).sum().item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("activations", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_served_log_probabilities_are_those_of_the_trainer(cell: str, activations: str) -> None:
    model = tiny_model(cell, activation_dtype=activations).requires_grad_(False)
    start = drawn_start(model)
    served = 0.0
    for chat in CHATS:
        state, length = model.new_state(1), len(chat.ids) - 1
        state.restore(0, start.snapshot())
        bounds, rows = torch.tensor([0, length], dtype=torch.int32), torch.arange(length)
        slots = torch.zeros(1, dtype=torch.int32)
        logits = model.step(torch.tensor(chat.ids[:-1]), bounds, slots, state, logits_indices=rows)
        losses = F.cross_entropy(logits, torch.tensor(chat.ids[1:]), reduction="none")
        for is_target, loss in zip(chat.is_target[1:], losses.tolist(), strict=True):
            served += is_target * loss
        alone = summed_loss(model, [chat], start).item()
        here = float((losses * torch.tensor([*chat.is_target[1:]])).sum())
        assert alone == pytest.approx(here, rel=1e-5, abs=1e-5)
    assert summed_loss(model, CHATS, start).item() == pytest.approx(served, rel=1e-5, abs=1e-5)
    assert summed_loss(model, CHATS, StartState(model.state_parts)).item() != pytest.approx(served, rel=1e-3)


def test_rounded_activations_are_rounded_in_the_trainer_too() -> None:
    model = tiny_model(activation_dtype="bfloat16")
    exact = tiny_model()
    exact.config = replace(exact.config, activation_dtype="float32")
    start = drawn_start(model)
    assert summed_loss(model, CHATS, start).item() != summed_loss(exact, CHATS, start).item()
