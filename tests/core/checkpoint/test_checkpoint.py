import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pararnn_core.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import matrix_names
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.core.checkpoint.checkpoint_files import (
    change_last_byte,
    edit_json,
    header_of,
    same_bits,
    weights_of,
)
from tests.fixtures import tiny_config, tiny_model
from tests.quantized_fixtures import tiny_quantized_checkpoint


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_saved_model_comes_back_bit_for_bit(
    cell: str, dtype: str, tied: bool, packed: bool, tmp_path: Path
) -> None:
    model = tiny_model(cell, seed=3, dtype=dtype, tie_embeddings=tied)
    before = {name: tensor.clone() for name, tensor in model.weights()}
    fingerprint = save_checkpoint(model.pack() if packed else model, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model", pack=packed)
    assert same_bits(weights_of(loaded), before)
    assert loaded.config == model.config
    assert loaded.fingerprint == fingerprint
    assert loaded.is_packed == packed
    assert not loaded.training


@pytest.mark.parametrize("quantized", [False, True])
def test_loading_holds_no_matrix_beside_its_packed_form(
    quantized: bool, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_quantized_checkpoint(tmp_path / "quantized") if quantized else saved
    set_weight, held = ParaRNNForCausalLM.set_weight, []

    def watched(model: ParaRNNForCausalLM, name: str, weight: torch.Tensor | QuantizedMatrix) -> None:
        set_weight(model, name, weight)
        matrices = set(matrix_names(model.config.num_hidden_layers, model.config.tie_embeddings))
        weights = {**dict(model.named_parameters()), **dict(model.quantized_matrices())}
        held.extend(other for other in matrices & weights.keys() if has_memory(weights[other]))

    monkeypatch.setattr(ParaRNNForCausalLM, "set_weight", watched)
    assert load_checkpoint(path).is_packed
    assert held == []


def has_memory(weight: torch.Tensor | QuantizedMatrix) -> bool:
    tensor = weight if isinstance(weight, torch.Tensor) else weight.qweight
    return tensor.device.type != "meta"


def test_loading_and_saving_again_changes_no_byte(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(load_checkpoint(saved), tmp_path / "again", tokenizer=saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }


def test_the_directory_has_the_hugging_face_layout(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "README.md",
    }
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "pararnn"
    assert json.loads((saved / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "chat_template": "{{ messages }}",
    }
    assert load_file(saved / "model.safetensors").keys() == weights_of(tiny_model("lstm")).keys()
    assert saved.stat().st_mode == saved.parent.stat().st_mode | 0o055 & ~umask()


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.parametrize("max_shard_bytes", [4 << 30, 20_000])
def test_the_mode_of_every_file_follows_the_umask(max_shard_bytes: int, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        model = tiny_model()
        write_checkpoint(model.config, weights_of(model), tmp_path / "model", max_shard_bytes=max_shard_bytes)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {0o640}, modes


def test_shards_hold_the_same_model(tmp_path: Path) -> None:
    model = tiny_model()
    whole = save_checkpoint(model, tmp_path / "whole")
    sharded = write_checkpoint(model.config, weights_of(model), tmp_path / "sharded", max_shard_bytes=20_000)
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 3
    assert sharded == whole
    assert same_bits(weights_of(load_checkpoint(tmp_path / "sharded", pack=False)), weights_of(model))


def test_weights_that_share_memory_are_written_each(tmp_path: Path) -> None:
    model = tiny_model()
    weights = weights_of(model) | {"lm_head.weight": weights_of(model)["embedding.weight"]}
    write_checkpoint(model.config, weights, tmp_path / "model")
    assert same_bits(weights_of(load_checkpoint(tmp_path / "model", pack=False)), weights)


def test_weights_are_rounded_to_the_dtype_asked_for(tmp_path: Path) -> None:
    model = tiny_model()
    save_checkpoint(model, tmp_path / "narrow", dtype="bfloat16")
    narrow = load_checkpoint(tmp_path / "narrow", pack=False)
    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in model.weights()}
    assert narrow.config == replace(model.config, dtype="bfloat16")
    assert same_bits(weights_of(narrow), rounded)
    wide = load_checkpoint(tmp_path / "narrow", dtype="float32", pack=False)
    assert same_bits(weights_of(wide), {name: tensor.float() for name, tensor in rounded.items()})
    assert wide.fingerprint != narrow.fingerprint
    with pytest.raises(ValueError, match="dtype"):
        load_checkpoint(tmp_path / "narrow", dtype="int8")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_clip_is_applied_when_the_config_says_so(cell: str, tmp_path: Path) -> None:
    model = tiny_model(cell, recurrent_clip=0.1)
    save_checkpoint(model, tmp_path / "model")
    loaded = weights_of(load_checkpoint(tmp_path / "model", pack=False))
    for name, tensor in model.weights():
        clipped = name.endswith((".A", ".C"))
        assert torch.equal(loaded[name], tensor.clamp(-0.1, 0.1) if clipped else tensor), name


def test_progress_counts_every_byte_once(saved: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_checkpoint(saved, progress=lambda done, total: seen.append((done, total)))
    total = checkpoint_info(saved).weight_bytes
    assert {t for _, t in seen} == {total}
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (total, total)


def test_info_reads_no_weight(saved: Path) -> None:
    info = checkpoint_info(saved)
    assert info.config == tiny_config("lstm")
    assert info.weight_bytes == 4 * info.config.num_parameters
    assert {t.name: t.shape for t in info.tensors} == {
        name: tuple(t.shape) for name, t in tiny_model("lstm").weights()
    }
    assert info.has_tokenizer
    assert info.has_chat_template
    assert info.fingerprint == verify_checkpoint(saved)


def test_no_file_of_the_checkpoint_stays_open_or_mapped(copy: Path) -> None:
    model = load_checkpoint(copy)
    mapped = Path("/proc/self/maps").read_text()
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert model.fingerprint
    assert str(copy) not in mapped
    assert not [path for path in opened if path.startswith(str(copy))]


def test_the_fingerprint_covers_config_tokenizer_and_weights_but_not_the_layout(copy: Path) -> None:
    original = verify_checkpoint(copy)
    (copy / "README.md").write_text("another card")
    os.rename(copy / "model.safetensors", copy / "model-1.safetensors")
    names = header_of(copy / "model-1.safetensors")[0].keys() - {"__metadata__"}
    index = {"weight_map": dict.fromkeys(names, "model-1.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert verify_checkpoint(copy) == original
    for change in (
        lambda: edit_json(copy / "config.json", norm_eps=1e-5),
        lambda: (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " "),
        lambda: change_last_byte(copy / "model-1.safetensors"),
    ):
        kept = {path: path.read_bytes() for path in copy.iterdir()}
        change()
        for attempt in (verify_checkpoint, load_checkpoint):
            with pytest.raises(CheckpointError, match="fingerprint"):
                attempt(copy)
        for path, data in kept.items():
            path.write_bytes(data)
    assert verify_checkpoint(copy) == original


def test_without_verification_the_fingerprint_is_taken_as_it_stands(copy: Path) -> None:
    change_last_byte(copy / "model.safetensors")
    assert load_checkpoint(copy, verify=False).fingerprint == checkpoint_info(copy).fingerprint


def test_weights_above_the_limit_are_verified_only_on_request(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_last_byte(copy / "model.safetensors")
    monkeypatch.setattr(checkpoint, "VERIFIED_BY_DEFAULT_BYTES", 1000)
    assert load_checkpoint(copy).fingerprint == checkpoint_info(copy).fingerprint
    with pytest.raises(CheckpointError, match="fingerprint"):
        load_checkpoint(copy, verify=True)


def test_a_checkpoint_without_fingerprint_gets_the_one_it_deserves(copy: Path) -> None:
    fields = json.loads((copy / "config.json").read_text())
    stored = fields.pop("fingerprint")
    (copy / "config.json").write_text(json.dumps(fields))
    assert checkpoint_info(copy).fingerprint is None
    assert load_checkpoint(copy, verify=False).fingerprint == stored


def test_a_failed_save_leaves_the_old_checkpoint_and_no_litter(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    model = tiny_model("lstm")
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    with pytest.raises(CheckpointError, match=r"norm\.weight holds NaN"):
        save_checkpoint(model, copy)
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tiny_model("lstm"), copy, generation={"temperature": float("nan")})
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_save_interrupted_while_writing_leaves_the_old_checkpoint(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    def full_disk(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(tiny_model("gru"), copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_saving_over_a_checkpoint_replaces_it_and_keeps_what_is_not_its_own(copy: Path) -> None:
    (copy / "learning-curve.png").write_bytes(b"png")
    (copy / "notes").mkdir()
    (copy / "notes" / "a.txt").write_text("a")
    model = tiny_model("gru", seed=8)
    write_checkpoint(model.config, weights_of(model), copy, max_shard_bytes=20_000)
    save_checkpoint(model, copy, card="# mine\n")
    assert same_bits(weights_of(load_checkpoint(copy, pack=False)), weights_of(model))
    assert {path.name for path in copy.iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "README.md",
        "learning-curve.png",
        "notes",
    }
    assert (copy / "README.md").read_text() == "# mine\n"
    assert (copy / "notes" / "a.txt").read_text() == "a"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_directory_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="choose another path"):
        save_checkpoint(tiny_model(), tmp_path / "home")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    save_checkpoint(tiny_model(), tmp_path / "empty")


def test_what_does_not_fit_the_config_is_not_written(tmp_path: Path) -> None:
    model = tiny_model()
    weights = weights_of(model)
    del weights["norm.weight"]
    with pytest.raises(CheckpointError, match=r"missing norm\.weight"):
        write_checkpoint(model.config, weights, tmp_path / "model")
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps({"model": {"vocab": {"a": 5000}}}))
    with pytest.raises(CheckpointError, match="use this model's own tokenizer"):
        save_checkpoint(model, tmp_path / "model", tokenizer)
    with pytest.raises(ValueError, match="chat_template: needs a tokenizer"):
        save_checkpoint(model, tmp_path / "model", chat_template="x")
    assert not (tmp_path / "model").exists()
