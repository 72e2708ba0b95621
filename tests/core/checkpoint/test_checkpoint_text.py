"""Files that say how a checkpoint reads text: found where checkpoints keep them, carried over whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pararnn_core.checkpoint import checkpoint_info, load_checkpoint, save_checkpoint
from pararnn_core.checkpoint.checkpoint_text import (
    MAX_JSON_BYTES,
    MAX_NAMED_TEMPLATES,
    TOKENIZER_CONFIG,
    CheckpointText,
)
from pararnn_core.convert import convert_checkpoint
from pararnn_core.quantize import quantize_checkpoint
from pararnn_core.storage.untrusted_file import CheckpointError
from tests.fixtures import tiny_checkpoint

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TEXT = {
    "chat_template.jinja": b"{{ messages }} of the file",
    "additional_chat_templates/tool_use.jinja": b"{{ tools }}",
    "special_tokens_map.json": b'{"eos_token": "<|eos|>"}',
    "added_tokens.json": b"{}",
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version: 0.2\n",
    "generation_config.json": b'{"temperature": 0.25, "eos_token_id": [262, 261]}',
}


def add(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return add(tiny_checkpoint(tmp_path / "source"), TEXT)


def quantized(source: Path, target: Path) -> None:
    quantize_checkpoint(source, target)


def saved_again(source: Path, target: Path) -> None:
    save_checkpoint(load_checkpoint(source), target, tokenizer=source)


MAKERS = (quantized, saved_again)


@pytest.mark.parametrize("make", MAKERS)
def test_a_checkpoint_made_of_another_has_all_its_text_files(
    make: Callable[[Path, Path], None], source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    make(source, target)
    for name, data in TEXT.items():
        if name == "generation_config.json":
            assert json.loads((target / name).read_bytes()).items() >= json.loads(data).items()
        else:
            assert (target / name).read_bytes() == data, name
    assert checkpoint_info(target).has_chat_template


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_of_an_older_checkpoint_is_left_in_the_target(
    make: Callable[[Path, Path], None], source: Path, tmp_path: Path
) -> None:
    plain = tiny_checkpoint(tmp_path / "plain")
    make(plain, source)
    assert CheckpointText(source).chat_templates() == CheckpointText(plain).chat_templates()
    for name in TEXT.keys() - {"generation_config.json"}:
        assert not (source / name).exists(), name
    assert "temperature" not in CheckpointText(source).fields("generation_config.json")


def test_saving_without_a_tokenizer_leaves_no_text_file_of_an_older_checkpoint(source: Path) -> None:
    save_checkpoint(load_checkpoint(source), source)
    assert not checkpoint_info(source).has_chat_template
    assert {path.name for path in source.iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "README.md",
    }


def test_a_template_that_is_given_is_the_only_one(source: Path, tmp_path: Path) -> None:
    save_checkpoint(load_checkpoint(source), tmp_path / "t", tokenizer=source, chat_template="mine")
    assert CheckpointText(tmp_path / "t").chat_templates() == {"default": "mine"}


def test_convert_takes_the_text_files_beside_the_weights(source: Path, tmp_path: Path) -> None:
    weights = torch.load(GOLDEN / "fork_paragru_state_dict.pt", weights_only=True)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    torch.save(weights, folder / "model.pt")
    rows = next(t.shape[0] for name, t in weights.items() if "embedding" in name or "embed" in name)
    small = {"model": {"type": "BPE", "vocab": {"a": rows - 1}, "merges": []}, "added_tokens": []}
    add(folder, TEXT | {"tokenizer.json": json.dumps(small).encode()})
    target = tmp_path / "target"
    done = convert_checkpoint(folder, target, allow_pickle=True)
    assert not [note for note in done.notes if "tokenizer.json" in note]
    for name in TEXT.keys() - {"generation_config.json"}:
        assert (target / name).read_bytes() == TEXT[name]
    assert CheckpointText(target).fields("generation_config.json")["temperature"] == 0.25


def test_templates_are_found_where_checkpoints_keep_them(tmp_path: Path) -> None:
    text = CheckpointText(tmp_path)
    assert text.chat_templates() == {}
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "x"}))
    assert text.chat_templates() == {"default": "x"}
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    config.write_text(json.dumps({"chat_template": named}))
    assert text.chat_templates() == {"tool_use": "t", "default": "d"}
    add(tmp_path, {"additional_chat_templates/tool_use.jinja": b"file of tools"})
    assert text.chat_templates() == {"tool_use": "file of tools"}
    add(tmp_path, {"chat_template.jinja": b"file"})
    assert text.chat_templates() == {"default": "file", "tool_use": "file of tools"}


@pytest.mark.parametrize("entry", [5, [5], [{"name": "default"}], [], {"default": 1}], ids=str)
def test_a_template_that_is_no_text_is_one_clear_error(entry: object, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": entry}))
    with pytest.raises(CheckpointError, match="chat_template must be text"):
        CheckpointText(tmp_path).chat_templates()


def test_the_number_of_templates_is_bounded(tmp_path: Path) -> None:
    add(tmp_path, {f"additional_chat_templates/{i}.jinja": b"" for i in range(MAX_NAMED_TEMPLATES + 1)})
    with pytest.raises(CheckpointError, match="more than 64 templates"):
        CheckpointText(tmp_path).chat_templates()


def test_a_configuration_of_a_tokenizer_may_be_larger_than_a_template(tmp_path: Path) -> None:
    """Those that name 10,000 reserved tokens take 1.2 MB."""
    added = {str(i): {"content": f"<|reserved_special_token_{i}|>", "special": True} for i in range(16_000)}
    fields = {"added_tokens_decoder": added, "eos_token": "<|eos|>"}
    data = json.dumps(fields).encode()
    assert len(data) > 1 << 20
    folder = add(tiny_checkpoint(tmp_path / "large"), {TOKENIZER_CONFIG: data})
    assert CheckpointText(folder).fields(TOKENIZER_CONFIG) == fields


def test_a_configuration_of_a_tokenizer_is_bounded(tmp_path: Path) -> None:
    folder = add(tiny_checkpoint(tmp_path / "huge"), {TOKENIZER_CONFIG: b" " * (MAX_JSON_BYTES + 1)})
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        CheckpointText(folder).fields(TOKENIZER_CONFIG)
