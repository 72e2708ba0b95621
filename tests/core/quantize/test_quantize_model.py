from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig
from pararnn_core.quantize.quantize_calibration import Calibration, sum_of_squares
from pararnn_core.quantize.quantize_gptq import compensate_matrix
from pararnn_core.quantize.quantize_model import quantize_model
from pararnn_core.quantize.quantize_round import round_matrix
from tests.core.checkpoint.checkpoint_files import same_bits, weights_of
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model
from tests.quantized_fixtures import FORMATS, MIXED

GPTQ = {name: replace(its, method="gptq") for name, its in FORMATS.items()}


@pytest.fixture
def windows() -> Tensor:
    return torch.randint(TINY_VOCAB_SIZE, (24, 40), generator=torch.Generator().manual_seed(0))


def relative_error(model: ParaRNNForCausalLM, of: ParaRNNForCausalLM, tokens: Tensor) -> float:
    expected = of.logits(tokens)
    return float((model.logits(tokens) - expected).norm() / expected.norm())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@torch.no_grad()
def test_a_calibrated_model_is_nearer_to_the_float_one_than_a_rounded_one(
    cell: str, tied: bool, windows: Tensor
) -> None:
    model = tiny_model(cell, tie_embeddings=tied)
    # Inputs of a random model hang together little, so there is little to make up for.
    rounded = relative_error(quantize_model(model, FORMATS["int4"]), model, windows)
    calibrated = relative_error(quantize_model(model, GPTQ["int4"], windows), model, windows)
    assert calibrated < 0.98 * rounded


@pytest.mark.parametrize("kind", GPTQ)
@pytest.mark.parametrize("tied", [False, True])
def test_every_matrix_gets_its_format_and_the_rest_stays(kind: str, tied: bool, windows: Tensor) -> None:
    model = tiny_model("lstm", tie_embeddings=tied, dtype="bfloat16")
    quantized = quantize_model(model, GPTQ[kind], windows)
    assert quantized.config == replace(model.config, dtype="float32", quantization=GPTQ[kind])
    matrices = dict(quantized.quantized_matrices())
    assert len(matrices) == 12 + (1 if tied else 2)
    for name, matrix in matrices.items():
        its = GPTQ[kind].format_of(name)
        assert (matrix.bits, matrix.group_size) == (its.bits, its.group_size)
        matrix.check_values()
    for name, parameter in quantized.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).float()), name


def test_the_source_stays_as_it_is(windows: Tensor) -> None:
    model = tiny_model()
    before = {name: weight.clone() for name, weight in weights_of(model).items()}
    quantize_model(model, GPTQ["int4"], windows)
    assert same_bits(weights_of(model), before)


def test_twice_the_same_is_the_same(windows: Tensor) -> None:
    first, second = (quantize_model(tiny_model(), GPTQ["mixed"], windows) for _ in range(2))
    assert same_bits(weights_of(first), weights_of(second))


def test_each_matrix_is_calibrated_on_what_the_quantised_ones_before_it_give(windows: Tensor) -> None:
    """The last one, and one between: any other inputs would give other integers."""
    model, its = tiny_model(), GPTQ["int4"].default
    quantized = quantize_model(model, GPTQ["int4"], windows)
    matrices = dict(quantized.quantized_matrices())
    calibration = Calibration(windows, quantized.embedding)
    with torch.no_grad():
        for block in quantized.blocks:
            last = calibration.inputs_of(block.mlp.down_proj, block)
            expected = sum_of_squares(last, 1, its.group_size)
            calibration.advance(block)
    name = "layers.1.mlp.down_proj.weight"
    again = compensate_matrix(model.get_parameter(name).detach(), expected, its)
    same = matrices[name].values() == again.values()
    assert same.float().mean() > 0.99


def test_an_embedding_of_its_own_is_rounded_plainly(windows: Tensor) -> None:
    model = tiny_model()
    matrices = dict(quantize_model(model, GPTQ["int4"], windows).quantized_matrices())
    plain = round_matrix(model.embedding.get_parameter("weight").detach(), GPTQ["int4"].default)
    assert torch.equal(matrices["embedding.weight"].qweight, plain.qweight)


@pytest.mark.parametrize("method", ["round", "gptq"])
def test_progress_counts_every_weight_of_a_matrix_once(method: str, windows: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    model = tiny_model("gru")
    quantization = QuantizationConfig(method, 8, 32)
    quantize_model(
        model, quantization, windows if method == "gptq" else None, lambda *each: seen.append(each)
    )
    total = sum(m.out_features * m.in_features for _, m in quantize_model(model, MIXED).quantized_matrices())
    assert len(seen) == 14
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_method_and_windows_must_fit(windows: Tensor) -> None:
    with pytest.raises(ValueError, match="windows"):
        quantize_model(tiny_model(), MIXED, windows)
    with pytest.raises(ValueError, match="windows"):
        quantize_model(tiny_model(), GPTQ["int4"])
