import pytest
import torch

from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.fixtures import TINY_VOCAB_SIZE, tiny_config, tiny_model
from tests.quantized_fixtures import FORMATS, float_twin, tiny_quantized_model


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_logits_are_those_of_the_dequantised_weights_but_for_rounded_activations(
    kind: str, tied: bool, cell: str
) -> None:
    model = tiny_quantized_model(cell, FORMATS[kind], tie_embeddings=tied)
    tokens = torch.randint(TINY_VOCAB_SIZE, (2, 12), generator=torch.Generator().manual_seed(0))
    logits, expected = model.logits(tokens), float_twin(model).logits(tokens)
    error = (logits - expected).norm() / expected.norm()
    # Rounding to 1/254 of a group's largest moves a product by about 0.5 %, through two layers.
    assert 0 < error < 0.03


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_served_logits_are_those_of_the_reference(kind: str, tied: bool, cell: str) -> None:
    """The same arithmetic; a last bit may tip an activation to the next integer, 1/127 of the largest."""
    model = tiny_quantized_model(cell, FORMATS[kind], tie_embeddings=tied)
    tokens = torch.randint(TINY_VOCAB_SIZE, (1, 12), generator=torch.Generator().manual_seed(0))
    expected = model.logits(tokens)[0]
    state, bounds = model.new_state(1), torch.tensor([0, 12], dtype=torch.int32)
    slots, every = torch.zeros(1, dtype=torch.int32), torch.arange(12)
    got = model.forward(tokens[0], bounds, slots, state, torch.tensor([False]), every)
    assert (got - expected).norm() / expected.norm() < 2e-3
    for _ in range(2):  # the second time packed
        again = model.new_state(3)
        for t in range(12):
            row = model.forward(
                tokens[0, t : t + 1], bounds.clamp(max=1), slots + 2, again, torch.tensor([t > 0])
            )
            assert torch.equal(row[0], got[t]), t
        model.pack()


def test_a_wrong_head_order_would_be_seen() -> None:
    """The bound of the test above tells the blocks of B apart."""
    model = tiny_quantized_model("gru", FORMATS["int8"])
    tokens = torch.arange(12)[None]
    before = model.logits(tokens)
    matrix = model.blocks[0].cell.B
    assert isinstance(matrix, QuantizedMatrix)
    half = matrix.out_features // 2
    swapped = torch.cat((matrix.qweight[half:], matrix.qweight[:half]))
    model.blocks[0].cell.B = QuantizedMatrix(swapped, matrix.scales, 8, matrix.group_size, matrix.in_features)
    assert (model.logits(tokens) - before).norm() / before.norm() > 0.06


def test_every_matrix_and_nothing_else_is_quantised() -> None:
    model = tiny_quantized_model("lstm")
    matrices = dict(model.quantized_matrices())
    assert len(matrices) == 6 * model.config.num_hidden_layers + 2
    assert {name for name, p in tiny_model("lstm").named_parameters() if p.dim() > 1} - matrices.keys() == {
        f"layers.{i}.{name}" for i in range(2) for name in ("cell.A", "cell.b", "cell.C", "conv.weight")
    }
    quantization = model.config.quantization
    assert quantization is not None
    for name, matrix in matrices.items():
        its = quantization.format_of(name)
        assert (matrix.bits, matrix.group_size) == (its.bits, its.group_size)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_quantised_model_refuses_what_needs_float_weights() -> None:
    model = tiny_quantized_model()
    for attempt in (model.train, model.state_dict, model.double, lambda: model.to(torch.bfloat16)):
        with pytest.raises(RuntimeError, match="is quantised"):
            attempt()
    assert not model.training
    with pytest.raises(ValueError, match="quantization must be None"):
        type(model)(model.config)
    assert tiny_config(quantization=FORMATS["int8"]).quantization == FORMATS["int8"]
