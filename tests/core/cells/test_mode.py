"""`mode` of a cell and of a model: every spelling is honoured, and what cannot be is an error."""

from enum import Enum

import pytest
import torch
from torch import nn

from pararnn_core.cells import Cell, ParaGRU, ParaLSTM
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.core.cells.user_cells import Elman


class OriginalsMode(str, Enum):
    """As the original defines its modes."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    PARALLEL_CUDA = "parallel_CUDA"
    PARALLEL_FUSED = "parallel_FUSED"


SPELLINGS = [*OriginalsMode, *(mode.value for mode in OriginalsMode), "PARALLEL", "Auto"]


def tiny_model() -> ParaRNNForCausalLM:
    config = ModelConfig(cell="gru", vocab_size=16, hidden_size=4, num_hidden_layers=2, num_heads=1)
    return ParaRNNForCausalLM(config)


def iterations(cell: Cell) -> int | None:
    return None if cell.last_solve is None else cell.last_solve.iterations


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM, Elman])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_assigned_mode_is_that_of_calls_which_name_none(cls: type[Cell]) -> None:
    cell, x = cls(4, 4), torch.randn(2, 30, 4)
    assert cell.mode == "auto"
    cell(x)
    assert iterations(cell) is None
    cell.mode = "parallel"
    y, _ = cell(x)
    assert iterations(cell)
    torch.testing.assert_close(y, cell(x, mode="sequential")[0])
    assert iterations(cell) is None
    assert cell.mode == "parallel"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_the_original_name_the_same_mode(spelling: str) -> None:
    cell, model = ParaGRU(4, 4), tiny_model()
    cell.mode = model.mode = spelling
    wanted = str(getattr(spelling, "value", spelling)).lower()
    assert cell.mode == model.mode == wanted
    assert {block.cell.mode for block in model.blocks} == {wanted}


@pytest.mark.parametrize("mode", ["parallel_CUDA", "parallel_FUSED"])
def test_assigned_mode_that_the_machine_lacks_is_an_error(mode: str) -> None:
    cell, model = ParaGRU(4, 4), tiny_model()
    cell.mode = model.mode = mode
    message = (
        f"^mode: '{mode.lower()}' needs a CUDA device, and the input is on cpu; use 'parallel' or 'auto'$"
    )
    with pytest.raises(ValueError, match=message):
        cell(torch.randn(1, 2, 4))
    with pytest.raises(ValueError, match=message):
        model.logits(torch.tensor([[1, 2]]))


def test_mode_of_a_model_is_that_of_its_logits() -> None:
    model, tokens = tiny_model(), torch.tensor([[1, 2, 3, 4]])
    expected = model.logits(tokens)
    model.mode = "parallel"
    torch.testing.assert_close(model.logits(tokens), expected, rtol=1e-4, atol=1e-5)
    assert all(iterations(block.cell) for block in model.blocks)
    model.logits(tokens, mode="sequential")
    assert all(iterations(block.cell) is None for block in model.blocks)


@pytest.mark.parametrize("wrong", ["fused", "paralel", "", None, 3, ("auto",)])
def test_unknown_mode_is_refused_where_it_is_assigned(wrong: object) -> None:
    for owner in (ParaGRU(4, 4), tiny_model()):
        with pytest.raises(ValueError, match=r"^mode: .* is unknown; use one of auto, sequential, parallel"):
            owner.mode = wrong  # type: ignore[assignment]  # wrong on purpose
        assert owner.mode == "auto"


@pytest.mark.parametrize("name", ["mod", "modes", "Mode", "moed"])
def test_misspelt_mode_is_refused(name: str) -> None:
    for owner in (ParaGRU(4, 4), tiny_model()):
        with pytest.raises(AttributeError, match=f"^{name}: .* did you mean mode"):
            setattr(owner, name, "parallel_FUSED")


def test_attributes_that_are_no_mode_are_the_users_own() -> None:
    cell = Elman(4, 4)
    cell.modes = ["parallel"]
    cell.kind = "parallel"
    cell.extra = nn.Linear(2, 2)
    assert dict(cell.named_children())
