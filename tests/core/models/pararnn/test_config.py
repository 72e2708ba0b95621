import json

import pytest

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import letters_in, parameter_shapes
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.fixtures import tiny_config

PAPER = {"406m": 406e6, "1.4b": 1.42e9, "2.9b": 2.90e9, "7b": 6.76e9}


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("name", PAPER)
def test_preset_has_the_papers_parameter_count(name: str, cell: str) -> None:
    assert ModelConfig.preset(name, cell).num_parameters == pytest.approx(PAPER[name], rel=0.005)


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"cell": "lstm"},
        {"tie_embeddings": True, "residual_scale": "none"},
        {"conv_kernel": 3, "num_heads": 1, "intermediate_size": None, "mlp_residual": False},
    ],
    ids=str,
)
def test_declared_tensors_are_those_of_a_built_model(over: dict[str, object]) -> None:
    config = tiny_config(**{"cell": "gru", **over})
    model = ParaRNNForCausalLM(config)
    declared = parameter_shapes(config.sizes, config.num_hidden_layers, config.tie_embeddings)
    assert declared == {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert letters_in(declared).items() <= config.sizes.items()
    built = sum(p.numel() for p in model.parameters())
    assert config.num_parameters == built


@pytest.mark.parametrize("name", ["25m", "130m"])
def test_small_presets_have_the_size_of_their_name(name: str) -> None:
    assert ModelConfig.preset(name).num_parameters == pytest.approx(float(name[:-1]) * 1e6, rel=0.06)


def test_mlp_hidden_size_rounds_up_to_256() -> None:
    sizes = {384: 1024, 768: 2048, 1024: 2816, 2048: 5632, 2560: 6912, 4096: 11008}
    for d, expected in sizes.items():
        config = ModelConfig(cell="gru", vocab_size=8, hidden_size=d, num_hidden_layers=1, num_heads=1)
        assert config.mlp_hidden_size == expected


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_dict_round_trip_through_json(cell: str) -> None:
    config = tiny_config(cell, recurrent_clip=0.5, activation_dtype="bfloat16", dtype="bfloat16")
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell", "rnn"),
        ("vocab_size", 0),
        ("vocab_size", 8.0),
        ("hidden_size", True),
        ("hidden_size", "32"),
        ("num_hidden_layers", 0),
        ("num_heads", 3),
        ("conv_kernel", 1),
        ("conv_kernel", 9),
        ("conv_activation", "relu"),
        ("gate_order", "norm"),
        ("residual_scale", None),
        ("mlp_residual", 1),
        ("tie_embeddings", "false"),
        ("intermediate_size", -1),
        ("norm_eps", 0.0),
        ("norm_eps", float("nan")),
        ("norm_eps", "1e-6"),
        ("recurrent_clip", -0.5),
        ("activation_dtype", "float16"),
        ("dtype", None),
        ("dtype", ["float32"]),
        ("bos_token_id", -1),
        ("eos_token_id", 1_000_000),
    ],
)
def test_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        tiny_config(**{"cell": "gru", field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 3}, "unknown configuration keys: hiden_size"),
        ({"model_type": "llama"}, "model_type must be 'pararnn', got 'llama'"),
        ({"num_heads": ...}, "missing configuration keys: num_heads"),
        ({"model_type": ...}, "model_type"),
    ],
)
def test_foreign_dict_is_refused_by_key(change: dict[str, object], message: str) -> None:
    data = {**tiny_config().to_dict(), **change}
    data = {key: value for key, value in data.items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(data)


def test_unknown_preset_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"preset.*25m.*'3b'"):
        ModelConfig.preset("3b")


def test_activation_dtype_defaults_to_the_devices() -> None:
    assert tiny_config().activation_dtype_on("cpu") == "float32"
    assert tiny_config().activation_dtype_on("cuda") == "bfloat16"
    assert tiny_config(activation_dtype="bfloat16").activation_dtype_on("cpu") == "bfloat16"
