"""An RWKV-7 in Hugging Face's layout loads as it is, and what is wrong with one is one error."""

import json
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.checkpoint.serving_checkpoint import load_serving_model
from tests.core.batches import run_alone
from tests.core.models.rwkv7.tiny import checkpoint, in_format, model_of, random_weights

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("weight_format", ["float32", "bfloat16", "int8", "int4"])
def test_a_checkpoint_gives_the_logits_of_its_weights(tmp_path: Path, weight_format: str) -> None:
    model = load_serving_model(checkpoint(tmp_path / "model", weight_format))
    expected, _ = run_alone(model_of(in_format(random_weights(), weight_format)), TOKENS)
    assert torch.equal(run_alone(model, TOKENS)[0], expected)
    assert model.config.weight_type == weight_format
    assert model.config.architecture == "RWKV-7"


def test_a_type_that_is_asked_for_changes_weights_and_fingerprint(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    plain, narrow = load_serving_model(folder), load_serving_model(folder, dtype="bfloat16")
    assert narrow.weight_bytes < plain.weight_bytes
    assert narrow.fingerprint != plain.fingerprint == load_serving_model(folder).fingerprint
    expected, _ = run_alone(model_of(in_format(random_weights(), "bfloat16")), TOKENS)
    assert torch.equal(run_alone(narrow, TOKENS)[0], expected)


def _edit(folder: Path, **changes: object) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_size": 64}, "hidden_size is 64, but the tensors have 128"),
        ({"head_dim": 32}, "head_dim must be 64"),
        ({"eos_token_id": 10**9}, "eos_token_id must be an id below"),
        ({"norm_eps": -1}, "norm_eps must be between"),
        ({"norm_eps": "small"}, "norm_eps must be between"),
        ({"fingerprint": "0" * 64}, "not those that were saved"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    folder = checkpoint(tmp_path / "model")
    _edit(folder, **changes)
    with pytest.raises(CheckpointError, match=problem):
        load_serving_model(folder)


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.2.attn.k_k"]
    tensors["model.layers.1.surprise"] = torch.zeros(3)
    tensors["model.layers.0.ffn.x_k"] = torch.zeros(5)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"missing .*k_k; unexpected .*surprise; .*ffn.x_k is \[5\]"):
        load_serving_model(folder)


def test_a_layer_far_out_costs_no_memory(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"model.layers.999999.attn.k_k": torch.zeros(128)}, file)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="name a layer 999999, but there are only"):
        load_serving_model(folder)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_vocabulary_without_ids_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    file = folder / "model.safetensors"
    empty = {name: torch.zeros(0, 128) for name in ("model.embeddings.weight", "lm_head.weight")}
    save_file(load_file(file) | empty, file)
    _edit(folder, vocab_size=0, bos_token_id=None, eos_token_id=None)
    with pytest.raises(CheckpointError, match="vocabulary is"):
        load_serving_model(folder)


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.attn.k_a"][7] = float("nan")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="k_a holds NaN or infinity"):
        load_serving_model(folder)


def test_a_gpu_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pararnn_core.checkpoint.serving_checkpoint.usable_device", lambda device: torch.device(device)
    )
    with pytest.raises(CheckpointError, match="runs on a CPU only in this version"):
        load_serving_model(checkpoint(tmp_path / "model"), device="cuda")
