import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pararnn_core.checkpoint import CheckpointError, load_checkpoint
from pararnn_core.convert import convert_checkpoint, load_cell
from tests.fixtures import tiny_config, tiny_model, tiny_tokenizer

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
STATED: dict[str, Any] = {
    "conv_activation": "silu",
    "gate_order": "gate_then_norm",
    "mlp_residual": True,
    "norm_eps": 1e-6,
}


def fork(cell: str) -> Path:
    return GOLDEN / f"fork_para{cell}_state_dict.pt"


def fork_state(cell: str = "gru") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(fork(cell), weights_only=True)
    return state


def write_key_map(path: Path, keys: dict[str, str], **fields: Any) -> Path:
    path.write_text(json.dumps({"keys": keys, "config": STATED} | fields))
    return path


def foreign(tmp_path: Path, cell: str, **over: Any) -> tuple[Path, dict[str, str]]:
    """A tiny model under other names, and the key map that undoes it; its layers are the odd blocks."""
    model = tiny_model(cell, **over)
    save_file(
        {_foreign_name(name): t.clone() for name, t in model.weights()}, tmp_path / "foreign.safetensors"
    )
    keys = {
        name.replace("layers.0.", "layers.{i}."): _foreign_name(name).replace("net.1.", "net.{2i+1}.")
        for name, _ in model.weights()
        if not name.startswith("layers.1.")
    }
    return tmp_path / "foreign.safetensors", keys


def _foreign_name(name: str) -> str:
    for i in range(2):
        name = name.replace(f"layers.{i}.", f"net.{2 * i + 1}.mixer.")
    return f"backbone.{name}"


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_forks_models_give_the_forks_logits(cell: str, tmp_path: Path) -> None:
    conversion = convert_checkpoint(fork(cell), tmp_path / "model", allow_pickle=True)
    expected = load_file(GOLDEN / f"fork_para{cell}_expected.safetensors")
    model = load_checkpoint(tmp_path / "model", pack=False)
    for mode in ("sequential", "parallel"):
        with torch.no_grad():
            logits = model.logits(expected["input_ids"], mode=mode)
        assert (logits - expected["logits"]).abs().max() < 1e-5
    assert conversion.config == model.config
    assert (
        model.config.to_dict()
        | {
            "cell": cell,
            "vocab_size": 96,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_heads": 2,
            "gate_order": "norm_then_gate",
            "mlp_residual": False,
            "tie_embeddings": True,
            "intermediate_size": None,
        }
        == model.config.to_dict()
    )
    assert any("tokenizer.json" in note for note in conversion.notes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gate_order": "gate_then_norm"},
        {"mlp_residual": True},
        {"norm_eps": 1e-5},
        {"conv_activation": "none"},
    ],
    ids=str,
)
def test_another_reading_of_the_fork_gives_other_logits(wrong: dict[str, Any], tmp_path: Path) -> None:
    convert_checkpoint(fork("gru"), tmp_path / "model", allow_pickle=True, overrides=wrong)
    expected = load_file(GOLDEN / "fork_paragru_expected.safetensors")
    with torch.no_grad():
        logits = load_checkpoint(tmp_path / "model", pack=False).logits(expected["input_ids"])
    assert (logits - expected["logits"]).abs().max() > 1e-3


def test_a_pickle_is_read_only_when_allowed_and_then_only_as_plain_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        convert_checkpoint(fork("gru"), tmp_path / "model")

    class Payload:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    for name, content in {"a.pt": {"w": Payload()}, "b.pt": Payload()}.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match="plain tensors"):
            convert_checkpoint(tmp_path / name, tmp_path / "model", allow_pickle=True)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="plain tensors"):
        convert_checkpoint(tmp_path / "c.pt", tmp_path / "model", allow_pickle=True)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("wrap", ["plain", "nested", "compiled", "parallel", "directory", "safetensors"])
def test_the_same_model_in_any_wrapping_has_the_same_fingerprint(wrap: str, tmp_path: Path) -> None:
    state = fork_state()
    whole = convert_checkpoint(fork("gru"), tmp_path / "whole", allow_pickle=True)
    source = tmp_path / "source.pt"
    if wrap == "plain":
        torch.save(OrderedDict(state), source)
    elif wrap == "nested":
        torch.save({"step": 7, "optimizer": {"lr": 1e-3}, "model": state}, source)
    elif wrap == "compiled":
        torch.save({f"_orig_mod.{name}": t for name, t in state.items()}, source)
    elif wrap == "parallel":
        torch.save({"state_dict": {f"module._orig_mod.{name}": t for name, t in state.items()}}, source)
    elif wrap == "directory":
        source = tmp_path / "source"
        source.mkdir()
        torch.save(state, source / "pytorch_model.bin")
    else:
        source = tmp_path / "source.safetensors"
        save_file({name: t.clone() for name, t in state.items()}, source)
    converted = convert_checkpoint(source, tmp_path / "model", allow_pickle=wrap != "safetensors")
    assert converted == whole.__class__(whole.config, whole.fingerprint, converted.notes)


def test_an_untied_head_is_kept(tmp_path: Path) -> None:
    state = fork_state()
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    torch.save(state, tmp_path / "source.pt")
    converted = convert_checkpoint(tmp_path / "source.pt", tmp_path / "model", allow_pickle=True)
    assert not converted.config.tie_embeddings
    loaded = dict(load_checkpoint(tmp_path / "model", pack=False).weights())
    assert torch.equal(loaded["lm_head.weight"], state["lm_head.weight"])
    with pytest.raises(CheckpointError, match="head differs"):
        convert_checkpoint(
            tmp_path / "source.pt", tmp_path / "b", allow_pickle=True, overrides={"tie_embeddings": True}
        )


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(
    "over", [{}, {"tie_embeddings": True}, {"residual_scale": "none"}, {"dtype": "bfloat16"}]
)
def test_a_key_map_recovers_a_renamed_model_bit_for_bit(
    cell: str, over: dict[str, Any], tmp_path: Path
) -> None:
    source, keys = foreign(tmp_path, cell, **over)
    key_map = write_key_map(tmp_path / "keys.json", keys)
    tokens = {name: getattr(tiny_config(), name) for name in ("bos_token_id", "eos_token_id")}
    converted = convert_checkpoint(source, tmp_path / "model", key_map, overrides=tokens)
    original = tiny_model(cell, **over)
    assert converted.config == original.config
    loaded = dict(load_checkpoint(tmp_path / "model", pack=False).weights())
    assert loaded.keys() == dict(original.weights()).keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in original.weights())


def test_a_tokenizer_comes_along(tmp_path: Path) -> None:
    source, keys = foreign(tmp_path, "gru")
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    converted = convert_checkpoint(
        source,
        tmp_path / "model",
        write_key_map(tmp_path / "keys.json", keys),
        overrides={"eos_token_id": 262},
        tokenizer=tmp_path / "tokenizer.json",
        chat_template="{{ messages }}",
    )
    assert converted.notes == ()
    fields = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert fields["eos_token"] == "<|eos|>"
    assert fields["chat_template"] == "{{ messages }}"


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda fields: fields["keys"].pop(name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f["config"].pop("gate_order"), "config must state gate_order"),
        (lambda f: f.pop("config"), "conv_activation, gate_order, mlp_residual, norm_eps"),
        (lambda f: f.update(config=5), "config must be an object"),
        (lambda f: f["config"].update(norm_eps=-1), "norm_eps"),
        (lambda f: f["config"].update(rope=1), "rope"),
        (lambda f: f["config"].update(num_hidden_layers=10**9), "far larger"),
        (lambda f: f["config"].update(hidden_size=64), "belong to different models"),
        (lambda f: f["config"].update(cell="lstm"), r"missing layers\.0\.cell\.C"),
        (lambda f: f.update(keys={}), "keys must map"),
        (lambda f: f.update(keys={"a": 5}), "keys must map"),
        (lambda f: f.update(more=1), "has unknown entries more"),
        (lambda f: f.update(ignore="x"), "ignore must be"),
        (lambda f: f["keys"].update({"layers.{i}.norm.weight": "backbone.x"}), "both or neither"),
        (
            lambda f: f["keys"].update({"embedding.weight": "nowhere"}),
            "no place in the key map: backbone.embed",
        ),
        (without("norm.weight"), "no place in the key map: backbone.norm.weight"),
        (without("layers.{i}.cell.A"), "2 weights have no place"),
        (
            lambda f: f["keys"].update({"layers.{i}.extra": "backbone.net.{2i+1}.mixer.norm.weight"}),
            "unexpected",
        ),
    ],
)
def test_a_bad_key_map_is_one_clear_error(
    change: Callable[[dict[str, Any]], object], expected: str, tmp_path: Path
) -> None:
    source, keys = foreign(tmp_path, "gru")
    key_map = write_key_map(tmp_path / "keys.json", keys)
    fields = json.loads(key_map.read_text())
    change(fields)
    key_map.write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=expected):
        convert_checkpoint(source, tmp_path / "model", key_map)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("pickled", [False, True])
def test_ignored_names_stay_behind(pickled: bool, tmp_path: Path) -> None:
    source, keys = foreign(tmp_path, "gru")
    step = torch.zeros(1, dtype=torch.int64)
    tensors = {name: t.clone() for name, t in load_file(source).items()} | {"ema.step": step}
    source = tmp_path / "source"
    (torch.save if pickled else save_file)(tensors, source)
    with pytest.raises(CheckpointError, match=r"ema\.step"):
        convert_checkpoint(source, tmp_path / "a", write_key_map(tmp_path / "k.json", keys), pickled)
    ignoring = write_key_map(tmp_path / "k.json", keys, ignore=["ema.*"])
    convert_checkpoint(source, tmp_path / "model", ignoring, pickled)
    assert load_checkpoint(tmp_path / "model", pack=False).config.num_hidden_layers == 2


def test_a_weight_of_integers_is_refused(tmp_path: Path) -> None:
    state = fork_state()
    state["blocks.0.rnn_cell.b"] = state["blocks.0.rnn_cell.b"].long()
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match="integers"):
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "model", allow_pickle=True)


def test_unknown_names_without_a_key_map_are_refused(tmp_path: Path) -> None:
    source, _ = foreign(tmp_path, "gru")
    with pytest.raises(CheckpointError, match="give a key map"):
        convert_checkpoint(source, tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("blocks.0.norm.weight"), r"missing layers\.0\.norm\.weight"),
        (lambda s: s.update({"extra.weight": torch.zeros(2)}), r"extra\.weight"),
        (lambda s: s.update({"norm": 5}), "no tensor"),
        (lambda s: s.pop("embedding.weight"), r"embedding\.weight"),
        (lambda s: s.update({"blocks.0.rnn_cell.B": torch.zeros(3)}), "wrong number of dimensions"),
        (lambda s: s.update({"blocks.2.rnn_cell.A": torch.zeros(3, 8)}), r"\[3, 8\] and should be \[3, 64\]"),
        (lambda s: s["final_norm.weight"].fill_(float("nan")), "NaN"),
        (lambda s: s.clear(), "no state dict"),
    ],
)
def test_a_damaged_source_is_one_clear_error(
    change: Callable[[dict[str, Any]], object], expected: str, tmp_path: Path
) -> None:
    state: dict[str, Any] = dict(fork_state())
    change(state)
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match=expected):
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "model", allow_pickle=True)
    assert not (tmp_path / "model").exists()


def test_a_source_that_is_nothing_of_the_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is text")
    (tmp_path / "empty").mkdir()
    for source, expected in {"absent": "does not exist", "text": "safetensors", "empty": "holds no"}.items():
        with pytest.raises(CheckpointError, match=expected):
            convert_checkpoint(tmp_path / source, tmp_path / "model", allow_pickle=True)
    save_file({"a": torch.zeros(2, dtype=torch.int64)}, tmp_path / "integers.safetensors")
    with pytest.raises(CheckpointError, match="I64"):
        convert_checkpoint(tmp_path / "integers.safetensors", tmp_path / "model")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_originals_cell_parameters_make_the_originals_cell(cell: str, tmp_path: Path) -> None:
    golden = load_file(GOLDEN / f"{cell}_small.safetensors")
    loaded = load_cell(GOLDEN / f"{cell}_small.safetensors", {name: f"param.{name}" for name in "ABbC"})
    with torch.no_grad():
        y, _ = loaded(golden["x"], mode="sequential")
    assert (y - golden["y"]).abs().max() < 1e-12
    plain = {name: golden[f"param.{name}"] for name in "ABbC" if f"param.{name}" in golden}
    torch.save(plain, tmp_path / "cell.pt")
    again = load_cell(tmp_path / "cell.pt", allow_pickle=True)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p.pop("A"), "holds no A"),
        (lambda p: p.update(B=torch.zeros(3)), "B must be"),
        (lambda p: p.update(A=torch.zeros(3, 5)), "holds no cell"),
    ],
)
def test_a_damaged_cell_is_one_clear_error(
    change: Callable[[dict[str, torch.Tensor]], object], expected: str, tmp_path: Path
) -> None:
    golden = load_file(GOLDEN / "gru_small.safetensors")
    parameters = {name: golden[f"param.{name}"].clone() for name in "ABb"}
    change(parameters)
    save_file(parameters, tmp_path / "cell.safetensors")
    with pytest.raises(CheckpointError, match=expected):
        load_cell(tmp_path / "cell.safetensors")
