"""`step` gives the final rows of the tokens that are asked for: those that the head reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pararnn_core.models.base import ServingModel
from tests.core.device.models import on_device
from tests.fixtures import tiny_model

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6], dtype=torch.int32)
BOUNDS = torch.tensor([0, 3, 4, 8], dtype=torch.int32)
SLOTS = torch.tensor([2, 0, 1], dtype=torch.int32)


def models(cell: str) -> list[ServingModel]:
    return [tiny_model(cell).pack(), on_device(tiny_model(cell))]


def alone(model: ServingModel) -> Tensor:
    """Return the final row of each token, fed one by one."""
    rows = []
    for first, end in zip(BOUNDS[:-1].tolist(), BOUNDS[1:].tolist(), strict=True):
        state = model.new_state(1)
        for place in range(first, end):
            one = TOKENS[place : place + 1]
            model.step(one, torch.tensor([0, 1], dtype=torch.int32), torch.zeros(1, dtype=torch.int32), state)
            rows.append(state["last_hidden"][0].clone())
    return torch.stack(rows)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5, 6, 7], [5, 0, 5], []])
@pytest.mark.parametrize("logits_indices", [None, [], [7, 1]])
def test_hidden_rows_are_those_of_each_token_alone(
    cell: str, indices: list[int], logits_indices: list[int] | None
) -> None:
    wanted = None if logits_indices is None else torch.tensor(logits_indices, dtype=torch.int64)
    for model in models(cell):
        expected = alone(model)
        plain, state = model.new_state(3), model.new_state(3)
        logits = model.step(TOKENS, BOUNDS, SLOTS, plain, logits_indices=wanted)
        hidden = torch.full((len(indices), model.hidden_size), torch.nan)
        found = model.step(
            TOKENS,
            BOUNDS,
            SLOTS,
            state,
            logits_indices=wanted,
            hidden_indices=torch.tensor(indices, dtype=torch.int64),
            hidden=hidden,
        )
        torch.testing.assert_close(hidden, expected[indices], rtol=0, atol=1e-5)
        assert found.shape == logits.shape
        torch.testing.assert_close(found, logits, rtol=0, atol=1e-5)
        for part in model.state_parts:
            torch.testing.assert_close(state[part.name], plain[part.name], rtol=0, atol=1e-5)
    # The packed model adds in one order: there the bits are equal.
    packed = models(cell)[0]
    hidden = torch.empty(8, packed.hidden_size)
    packed.step(TOKENS, BOUNDS, SLOTS, packed.new_state(3), hidden_indices=torch.arange(8), hidden=hidden)
    assert torch.equal(hidden, alone(packed))


def test_wrong_hidden_rows_are_refused_before_any_state_changes() -> None:
    for model in models("gru"):
        state = model.new_state(3)
        indices, good = torch.tensor([0, 1]), torch.empty(2, model.hidden_size)
        for hidden_indices, hidden in (
            (indices, None),
            (None, good),
            (torch.tensor([0, 8]), good),
            (indices, torch.empty(3, model.hidden_size)),
            (indices, torch.empty(2, model.hidden_size - 1)),
            (indices, good.double()),
        ):
            with pytest.raises(ValueError, match="hidden"):
                model.step(TOKENS, BOUNDS, SLOTS, state, hidden_indices=hidden_indices, hidden=hidden)
        assert not state["last_hidden"].any()
