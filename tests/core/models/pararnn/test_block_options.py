"""Blocks without a part, and every cell: serving gives the reference's logits, in any chunks bit for bit."""

from typing import Any

import pytest
import torch

from pararnn_core.cells import CELLS
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.core.batches import Chunk, feed, poisoned, run_alone
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import TINY_VOCAB_SIZE, tiny_config, tiny_model
from tests.quantized_fixtures import FORMATS, tiny_quantized_model

TOKENS = torch.randint(TINY_VOCAB_SIZE, (24,), generator=torch.Generator().manual_seed(5)).tolist()
BARE: dict[str, Any] = {
    "conv_kernel": 0,
    "gate_order": "none",
    "norm": "none",
    "projections": False,
    "mixer_residual": False,
    "residual_scale": "none",
    "intermediate_size": 0,
    "head_bias": True,
}
BLOCKS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no convolution": {"conv_kernel": 0},
    "no gate": {"gate_order": "norm_only"},
    "no gate, no norm": {"gate_order": "none"},
    "no MLP": {"intermediate_size": 0},
    "no convolution, no gate": {"conv_kernel": 0, "gate_order": "norm_only"},
    "convolution without projections": {"gate_order": "none", "projections": False},
    "no norms": {"norm": "none"},
    "no mixer residual": {"mixer_residual": False, "residual_scale": "none"},
    "bias of the head": {"head_bias": True},
    "embedding, cell, head": BARE,
}
WEIGHTS = ("float32", "bfloat16", *FORMATS)
every_block = pytest.mark.parametrize("block", BLOCKS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def model_of(cell: str, block: str, weights: str) -> ParaRNNForCausalLM:
    if weights in FORMATS:
        return tiny_quantized_model(cell, FORMATS[weights], **BLOCKS[block])
    return tiny_model(cell, dtype=weights, **BLOCKS[block])


@every_cell
@every_block
@pytest.mark.parametrize("weights", WEIGHTS)
def test_prefill_equals_decode_bit_for_bit(cell: str, block: str, weights: str) -> None:
    model = model_of(cell, block, weights).pack()
    expected, final = run_alone(model, TOKENS)
    assert expected.isfinite().all()
    state = poisoned(model, 3)
    (logits,) = feed(model, state, [Chunk(2, TOKENS[:7], fresh=True)])
    rows = [logits]
    for token in TOKENS[7:]:
        one, _ = feed(model, state, [Chunk(2, [token]), Chunk(0, TOKENS[:3], fresh=True)])
        rows.append(one)
    assert torch.equal(torch.cat(rows), expected)
    assert state.snapshot(2) == final


@every_cell
@every_block
def test_served_and_trained_logits_are_those_of_plain_formulas_in_float64(cell: str, block: str) -> None:
    model = tiny_model(cell, **BLOCKS[block])
    expected = run_step_by_step(model, TOKENS, torch.float64).logits
    scale = expected.abs().max().item()
    with torch.no_grad():
        for mode in ("sequential", "parallel", "auto"):
            trained = model.logits(torch.tensor([TOKENS]), mode=mode)[0]
            assert (trained - expected).abs().max() < 1e-5 * max(1, scale), mode
    served, _ = run_alone(model.pack(), TOKENS)
    assert (served - expected).abs().max() < 1e-5 * max(1, scale)


def test_a_state_has_no_convolution_tail_without_a_convolution() -> None:
    assert "conv" in {part.name for part in tiny_model().state_parts}
    assert "conv" not in {part.name for part in tiny_model(conv_kernel=0).state_parts}


def test_a_config_without_block_options_is_written_as_before_they_existed() -> None:
    fields = tiny_config().to_dict()
    assert not {"norm", "projections", "mixer_residual", "head_bias"} & fields.keys()
    bare = tiny_config(**BARE)
    assert ModelConfig.from_dict(bare.to_dict()) == bare


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"projections": False}, "projections"),
        ({"mixer_residual": False}, "residual_scale"),
        ({"intermediate_size": 0, "mlp_residual": False}, "mlp_residual"),
        ({"head_bias": True, "tie_embeddings": True}, "tie_embeddings"),
        ({"conv_kernel": 1}, "conv_kernel"),
    ],
)
def test_options_that_exclude_one_another_are_an_error_that_names_the_field(
    fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        tiny_config(**fields)
