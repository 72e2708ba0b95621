"""Configs as programs of the Hub write them are read; what contradicts itself is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings
from safetensors.torch import load_file, save_file

from pararnn_core.checkpoint import CheckpointError, checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from tests.fixtures import tiny_checkpoint, tiny_config

HUB = {
    "architectures": ["ParaRNNForCausalLM"],
    "transformers_version": "5.0.0",
    "torch_dtype": "float32",
    "use_cache": True,
    "_name_or_path": "somebody/model",
    "auto_map": {"AutoConfig": "configuration.Config"},
}


def _edit(folder: Path, without: tuple[str, ...] = ("fingerprint",), **fields: Any) -> Path:
    path = folder / "config.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in without}
    path.write_text(json.dumps({**kept, **fields}))
    return folder


def test_keys_of_the_hub_change_no_model() -> None:
    config = tiny_config()
    assert ModelConfig.from_dict({**config.to_dict(), **HUB}) == config


def test_torch_dtype_is_the_type_where_dtype_is_missing() -> None:
    data = {key: value for key, value in tiny_config().to_dict().items() if key != "dtype"}
    assert ModelConfig.from_dict({**data, "torch_dtype": "bfloat16"}).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"torch_dtype": "bfloat16"}, "dtype is 'float32' and torch_dtype 'bfloat16'"),
        ({"eos_token_id": [1, "2"]}, "eos_token_id must be an id or a list of ids"),
        ({"eos_token_id": [10**6]}, "eos_token_id must be below vocab_size"),
        ({"hiden_size": 3}, "unknown configuration keys: hiden_size"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**tiny_config().to_dict(), **HUB, **fields})


def test_a_reply_ends_at_every_eos_of_a_list(tmp_path: Path) -> None:
    folder = _edit(tiny_checkpoint(tmp_path / "model"), **HUB, eos_token_id=[7, 5, 9])
    loaded = load(Settings(checkpoint=str(folder)))
    assert loaded.model.config.eos_token_id == 7
    assert {5, 9} <= set(loaded.stop_token_ids)


@pytest.fixture
def repeated(tmp_path: Path) -> Path:
    """A tied checkpoint whose head is saved a second time."""
    folder = _edit(tiny_checkpoint(tmp_path / "model", tie_embeddings=True))
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {**tensors, "lm_head.weight": tensors["embedding.weight"].clone()}, folder / "model.safetensors"
    )
    return folder


@pytest.mark.parametrize("pack", [False, True])
def test_an_equal_head_beside_a_tied_one_is_read_past(repeated: Path, tmp_path: Path, pack: bool) -> None:
    plain = load_checkpoint(tiny_checkpoint(tmp_path / "plain", tie_embeddings=True), pack=False)
    model = load_checkpoint(repeated, pack=pack)
    assert checkpoint_info(repeated).config.tie_embeddings
    assert verify_checkpoint(repeated) == model.fingerprint
    if not pack:
        assert torch.equal(model.get_parameter("embedding.weight"), plain.get_parameter("embedding.weight"))


def test_another_head_beside_a_tied_one_is_refused(repeated: Path) -> None:
    tensors = load_file(repeated / "model.safetensors")
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, repeated / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tie_embeddings is true, but lm_head\.weight differs"):
        load_checkpoint(repeated)
