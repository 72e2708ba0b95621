import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pararnn_core.checkpoint import CheckpointError, checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig
from tests.core.checkpoint.checkpoint_files import edit_header, edit_json, edit_tensors, same_bits, weights_of
from tests.fixtures import TINY_VOCAB_SIZE, tiny_checkpoint, tiny_config
from tests.quantized_fixtures import FORMATS, MIXED, tiny_quantized_checkpoint, tiny_quantized_model

WEIGHTS, CONFIG = "model.safetensors", "config.json"
IN_PROJ, B, EMBEDDING = "layers.0.in_proj.weight", "layers.0.cell.B", "embedding.weight"
Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that tests must not change."""
    return tiny_quantized_checkpoint(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_saved_quantised_model_comes_back_bit_for_bit(
    kind: str, tied: bool, cell: str, tmp_path: Path
) -> None:
    model = tiny_quantized_model(cell, FORMATS[kind], tie_embeddings=tied)
    fingerprint = save_checkpoint(model, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model", pack=False)
    assert same_bits(weights_of(loaded), weights_of(model))
    assert loaded.config == model.config
    assert loaded.fingerprint == fingerprint == verify_checkpoint(tmp_path / "model")
    tokens = torch.randint(TINY_VOCAB_SIZE, (1, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.logits(tokens), model.logits(tokens))
    save_checkpoint(loaded, tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "model" / WEIGHTS).read_bytes()


def test_the_file_holds_what_the_format_says(saved: Path) -> None:
    tensors = {info.name: (info.dtype, info.shape) for info in checkpoint_info(saved).tensors}
    d, m, v = 32, 48, TINY_VOCAB_SIZE
    assert tensors[f"{IN_PROJ}.qweight"] == ("U8", (2 * d, d // 2))
    assert tensors[f"{IN_PROJ}.scales"] == ("BF16", (2 * d, d // 16))
    assert tensors[f"{B}.qweight"] == ("U8", (3 * d, d // 2 // 2))
    assert tensors["layers.1.cell.B.qweight"] == ("I8", (3 * d, d // 2))
    assert tensors[f"{EMBEDDING}.qweight"] == ("I8", (v, d))
    assert tensors[f"{EMBEDDING}.scales"] == ("BF16", (v, 1))
    assert tensors["layers.0.mlp.down_proj.weight.scales"] == ("BF16", (d, m // 16))
    assert tensors["layers.0.cell.A"] == ("F32", (3, d))
    assert not tensors.keys() & {IN_PROJ, B, EMBEDDING}


def test_a_float_config_is_written_as_before() -> None:
    assert "quantization_config" not in tiny_config().to_dict()
    assert "quantization" not in tiny_config().to_dict()


def test_the_config_round_trips_through_json() -> None:
    config = tiny_config(quantization=MIXED)
    fields = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(fields) == config
    assert fields["quantization_config"] == {
        "method": "round",
        "bits": 4,
        "group_size": 16,
        "overrides": {
            "embedding.weight": {"bits": 8, "group_size": 32},
            "layers.1.cell.B": {"bits": 8, "group_size": 16},
        },
    }


def test_the_two_matrices_that_are_packed_as_one_must_be_alike() -> None:
    gate, up = (f"layers.1.mlp.{name}.weight" for name in ("gate_proj", "up_proj"))
    both = tuple((name, MatrixFormat(8, 32)) for name in (gate, up))
    tiny_config(quantization=replace(MIXED, overrides=both))
    for one in both:
        with pytest.raises(ValueError, match="must have the same bits"):
            tiny_config(quantization=replace(MIXED, overrides=(one,)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quantised_checkpoint_takes_no_other_dtype(dtype: str, saved: Path) -> None:
    with pytest.raises(CheckpointError, match="is quantised"):
        load_checkpoint(saved, dtype=dtype, pack=False)


def test_recurrent_clip_holds_for_a_quantised_model(tmp_path: Path) -> None:
    path = tiny_quantized_checkpoint(tmp_path / "model", recurrent_clip=0.1)
    loaded = load_checkpoint(path, pack=False)
    assert loaded.blocks[0].cell.A.abs().max() == pytest.approx(0.1)


def set_quantization(**fields: Any) -> Break:
    def broken(path: Path) -> None:
        config = json.loads((path / CONFIG).read_text())
        stored = config["quantization_config"]
        for key, value in fields.items():
            stored.pop(key, None)
            if value is not ...:
                stored[key] = value
        edit_json(path / CONFIG, quantization_config=stored)

    return broken


def set_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    def broken(path: Path) -> None:
        edit_tensors(path / WEIGHTS, lambda t: t.update({name: change(t[name]).contiguous()}))

    return broken


def set_entry(name: str, **fields: Any) -> Break:
    return lambda path: edit_header(path / WEIGHTS, lambda header: header[name].update(fields))


def spoil(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return change


def without(*names: str) -> Break:
    return lambda path: edit_tensors(path / WEIGHTS, lambda t: [t.pop(name) for name in names])


def float_config_on_integers(path: Path) -> None:
    config = json.loads((path / CONFIG).read_text())
    del config["quantization_config"]
    (path / CONFIG).write_text(json.dumps(config))


def integers_config_on_floats(path: Path) -> None:
    fields = json.loads((path / CONFIG).read_text())["quantization_config"]
    shutil.rmtree(path)
    tiny_checkpoint(path)
    edit_json(path / CONFIG, quantization_config=fields)


def overlap(path: Path) -> None:
    def change(header: dict[str, Any]) -> None:
        start, end = header[f"{IN_PROJ}.qweight"]["data_offsets"]
        header[f"{IN_PROJ}.qweight"]["data_offsets"] = [start - 2, end - 2]

    edit_header(path / WEIGHTS, change)


BROKEN: dict[str, tuple[Break, str]] = {
    "unknown method": (set_quantization(method="magic"), "method must be one of"),
    "method of a wrong type": (set_quantization(method=["gptq"]), "method must be one of"),
    "no method": (set_quantization(method=...), "needs method"),
    "bits": (set_quantization(bits=3), "bits must be 8 or 4"),
    "bits of a wrong type": (set_quantization(bits="4"), "bits must be 8 or 4"),
    "bits of others": (set_quantization(bits=8), "belong to different models"),
    "group size of zero": (set_quantization(group_size=0), "group_size must be a multiple of 16"),
    "group size between": (set_quantization(group_size=40), "group_size must be a multiple of 16"),
    "group size too large": (set_quantization(group_size=4096), "group_size must be a multiple of 16"),
    "group size of others": (set_quantization(group_size=32), "belong to different models"),
    "unknown key": (set_quantization(symmetric=True), "unknown key 'symmetric'"),
    "no object": (lambda p: edit_json(p / CONFIG, quantization_config=[4]), "must be an object"),
    "null": (lambda p: edit_json(p / CONFIG, quantization_config=None), "must be an object"),
    "overrides are a list": (set_quantization(overrides=[EMBEDDING]), "overrides must be an object"),
    "override of nothing": (
        set_quantization(overrides={"layers.2.in_proj.weight": {"bits": 8, "group_size": 16}}),
        "no matrix of this model",
    ),
    "override of a vector": (
        set_quantization(overrides={"layers.0.norm.weight": {"bits": 8, "group_size": 16}}),
        "no matrix of this model",
    ),
    "override of half": (set_quantization(overrides={EMBEDDING: {"bits": 8}}), "needs group_size"),
    "override of bits": (
        set_quantization(overrides={EMBEDDING: {"bits": 2, "group_size": 32}}),
        "bits must be 8 or 4",
    ),
    "overrides forgotten": (set_quantization(overrides=...), "belong to different models"),
    "one of two alike": (
        set_quantization(overrides={"layers.0.mlp.up_proj.weight": {"bits": 8, "group_size": 16}}),
        "must have the same bits",
    ),
    "dtype beside integers": (lambda p: edit_json(p / CONFIG, dtype="bfloat16"), "dtype must be 'float32'"),
    "float config on integers": (float_config_on_integers, "belong to different models: missing"),
    "integer config on floats": (integers_config_on_floats, "belong to different models: missing"),
    "scales missing": (without(f"{B}.scales"), f"missing {B}.scales"),
    "integers missing": (without(f"{B}.qweight"), f"missing {B}.qweight"),
    "float weight too": (
        lambda p: edit_tensors(p / WEIGHTS, lambda t: t.update({B: torch.zeros(2, 16, 3, 16)})),
        f"unexpected {B}",
    ),
    "scales truncated": (set_tensor(f"{IN_PROJ}.scales", lambda t: t[:, :-1]), r"is \[64, 1\] and should be"),
    "integers truncated": (set_tensor(f"{IN_PROJ}.qweight", lambda t: t[:-1]), r"is \[63, 16\] and should"),
    "integers transposed": (set_tensor(f"{IN_PROJ}.qweight", lambda t: t.T), r"is \[16, 64\] and should"),
    "scales of float32": (set_tensor(f"{B}.scales", torch.Tensor.float), "dtype bfloat16, but"),
    "integers of float32": (set_tensor(f"{B}.qweight", torch.Tensor.float), "dtype uint8, but"),
    "signed nibbles": (set_tensor(f"{B}.qweight", lambda t: t.view(torch.int8)), "dtype uint8, but"),
    "unsigned bytes": (
        set_tensor(f"{EMBEDDING}.qweight", lambda t: t.view(torch.uint8)),
        "dtype int8, but",
    ),
    "norms of bfloat16": (set_tensor("norm.weight", torch.Tensor.bfloat16), "dtype float32, but"),
    "NaN scales": (set_tensor(f"{B}.scales", spoil(float("nan"))), f"{B}.scales holds NaN"),
    "infinite scales": (set_tensor(f"{B}.scales", spoil(float("inf"))), f"{B}.scales holds NaN or inf"),
    "NaN norm": (set_tensor("norm.weight", spoil(float("nan"))), "norm.weight holds NaN"),
    "-128": (set_tensor(f"{EMBEDDING}.qweight", spoil(-128)), f"{EMBEDDING}: qweight holds -128"),
    "overlapping": (overlap, "overlaps|hole"),
    "beyond the file": (
        set_entry(f"{IN_PROJ}.qweight", shape=[2**30, 2**20], data_offsets=[0, 2**50]),
        "overlaps|hole|truncated",
    ),
    "absurd shape": (
        set_entry(f"{IN_PROJ}.qweight", shape=[2**61, 2**61]),
        "do not fit its shape",
    ),
    "another byte": (set_tensor(f"{EMBEDDING}.qweight", spoil(5)), "fingerprint"),
}


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_quantised_checkpoint_is_one_clear_error(broken: str, copy: Path) -> None:
    spoil_it, expected = BROKEN[broken]
    spoil_it(copy)
    with pytest.raises(CheckpointError, match=expected) as refused:
        load_checkpoint(copy, pack=False)
    assert str(copy) in str(refused.value)
    assert len(str(refused.value)) <= 1000


def test_a_value_beyond_the_last_input_is_refused(tmp_path: Path) -> None:
    quantization = QuantizationConfig("round", 4, 16)
    path = tiny_quantized_checkpoint(tmp_path / "odd", quantization=quantization, intermediate_size=33)
    name = "layers.0.mlp.down_proj.weight"
    load_checkpoint(path, pack=False)
    set_tensor(f"{name}.qweight", spoil(0x18))(path)
    with pytest.raises(CheckpointError, match=f"{name}: qweight has a value beyond the last input"):
        load_checkpoint(path, pack=False)
