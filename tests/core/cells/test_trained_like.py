"""Problems for measuring are as hard as those of the models that ship."""

import pytest
import torch

from pararnn_core.cells import ParaGRU, ParaLSTM
from pararnn_core.cells.trained_like import draw_inputs, draw_weights

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "cls"), [("gru", ParaGRU), ("lstm", ParaLSTM)])
def test_newton_takes_as_many_updates_as_in_trained_models(
    name: str, cls: type[ParaGRU] | type[ParaLSTM]
) -> None:
    print(f"seed {torch.seed()}")
    cell = cls(64, 64, 64)
    with torch.no_grad():
        drawn = [each for each in draw_weights(name, 64, CPU) if each is not None]
        for weights, values in zip(cell.recurrent_parameters(), drawn, strict=True):
            weights.copy_(values)
    start = torch.zeros(1, cell.num_states, 64)
    bx = draw_inputs(name, 512, 64, CPU)
    cell.recurrence(bx, start, torch.tensor([0, 512], dtype=torch.int32), "parallel")
    assert cell.last_solve is not None
    assert 5 <= cell.last_solve.iterations <= 6
    assert cell.last_solve.fallbacks == 0
