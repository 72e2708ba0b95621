import pytest
import torch
from torch.nn import functional as F

from pararnn_core.models.pararnn.layers import Block, CausalConv1d, GatedMLP, RMSNorm
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import tiny_config, tiny_model

TOKENS = [5, 200, 17, 17, 96, 3, 250, 64, 31]
VARIANTS = [
    {},
    {"gate_order": "norm_then_gate"},
    {"conv_activation": "none", "conv_kernel": 2},
    {"residual_scale": "none", "tie_embeddings": True},
    {"mlp_residual": False, "gate_order": "norm_then_gate", "tie_embeddings": True},
    {"num_heads": 1, "hidden_size": 15, "norm_eps": 1e-2},
    {"num_heads": 4, "num_hidden_layers": 3, "conv_kernel": 5},
]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("over", VARIANTS, ids=str)
def test_every_variant_is_the_designs_formula(over: dict[str, object], cell: str) -> None:
    model = tiny_model(cell, **over).to(torch.float64)
    expected = run_step_by_step(model, TOKENS, torch.float64).logits
    for mode in ("sequential", "parallel"):
        logits = model.logits(torch.tensor([TOKENS]), mode=mode)[0]
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("over", VARIANTS[1:], ids=str)
def test_no_variant_is_the_default(over: dict[str, object]) -> None:
    tokens = torch.tensor([TOKENS])
    assert not torch.allclose(tiny_model(**over).logits(tokens), tiny_model().logits(tokens), atol=1e-3)


def test_conv_is_torchs_depthwise_conv_over_the_past() -> None:
    conv = CausalConv1d(6, 4, "none")
    torch.nn.init.normal_(conv.weight)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 9, 6)
    padded = F.pad(x.transpose(1, 2), (3, 0))
    expected = F.conv1d(padded, conv.weight[:, None], conv.bias, groups=6).transpose(1, 2)
    torch.testing.assert_close(conv(x), expected)


def test_rms_norm_is_torchs() -> None:
    norm = RMSNorm(7, 1e-3)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 7)
    torch.testing.assert_close(norm(x), F.rms_norm(x, (7,), norm.weight, 1e-3))


def test_bfloat16_weights_are_widened_not_the_activations_narrowed() -> None:
    mlp = GatedMLP(8, 16)
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter)
    narrow = mlp.to(torch.bfloat16)
    x = torch.randn(4, 8)
    y = narrow(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, narrow.float()(x), rtol=0, atol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_activations_are_v_rounded_before_the_convolution(cell: str) -> None:
    block = Block(tiny_config(cell, activation_dtype="bfloat16"))
    v = torch.randn(1, 4, 32)
    assert torch.equal(block.round_activation(v), v.to(torch.bfloat16))
    model = tiny_model(cell, activation_dtype="bfloat16").to(torch.float64)
    expected = run_step_by_step(model, TOKENS, torch.float64).logits
    torch.testing.assert_close(model.logits(torch.tensor([TOKENS]))[0], expected, rtol=0, atol=1e-11)


def test_block_is_causal() -> None:
    block = tiny_model().blocks[0]
    x = torch.randn(1, 8, 32)
    changed = x.clone()
    changed[:, 5:] += 1
    y, z = block(x), block(changed)
    torch.testing.assert_close(y[:, :5], z[:, :5], rtol=0, atol=1e-6)
    assert not torch.allclose(y[:, 5:], z[:, 5:], atol=1e-3)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_parameter_of_a_block_has_a_gradient(cell: str) -> None:
    block = tiny_model(cell).blocks[0]
    block(torch.randn(2, 6, 32)).square().mean().backward()
    without = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
