import dataclasses
from pathlib import Path

import pytest
import torch

from checkpoints.distil.mixers_file import Mixers, read_mixers, write_mixers
from checkpoints.distil.student import mixer_parameters
from tests.checkpoints.distil.tiny import RECIPE, tiny_learner

CURVE = [{"tokens": 5, "stage": "align", "loss": 0.5}]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_mixers_come_back_with_their_curve_in_few_bits(tmp_path: Path, cell: str) -> None:
    weights = {name: p.detach() for name, p in mixer_parameters(tiny_learner(cell).model)}
    recipe = dataclasses.replace(RECIPE, cell=cell)
    write_mixers(Mixers(recipe, 123, weights, CURVE), tmp_path / "a.safetensors")
    read = read_mixers(tmp_path / "a.safetensors")
    assert (read.recipe, read.tokens, read.curve) == (recipe, 123, CURVE)
    assert read.weights.keys() == weights.keys()
    for name, weight in weights.items():
        assert read.weights[name].shape == weight.shape
        bound = 0.12 if name.endswith(("in_proj.weight", "out_proj.weight")) else 1e-9
        error = (read.weights[name] - weight).norm() / weight.norm().clamp(min=1e-9)
        assert error < (0.01 if name.endswith("cell.B") else bound)
    write_mixers(read, tmp_path / "b.safetensors")
    again = read_mixers(tmp_path / "b.safetensors")
    for name, weight in read.weights.items():
        if name.endswith("cell.B"):
            # 8 bits may find another scale; it moves a weight by far less than a step of 4 bits.
            assert (again.weights[name] - weight).norm() < 0.01 * weight.norm()
        else:
            assert torch.allclose(again.weights[name], weight, atol=1e-6)


def test_a_file_takes_less_than_five_bits_a_weight_of_a_matrix(tmp_path: Path) -> None:
    weights = {"layers.0.in_proj.weight": torch.randn(1152, 576)}
    write_mixers(Mixers(RECIPE, 0, weights, []), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 5 / 8 * 1152 * 576
