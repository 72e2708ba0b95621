"""Cells of pararnn-torch, recorded from that package's own modules, computed by ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pararnn_core.cells import ParaGRU, ParaLSTM
from pararnn_core.checkpoint import CheckpointError, load_checkpoint
from pararnn_core.convert import ConvertedCells, convert_checkpoint, load_cell
from pararnn_core.convert.convert_pararnn_torch import with_our_cells
from tests.fixtures import tiny_config, tiny_model

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CELLS = {"gru": ParaGRU, "lstm": ParaLSTM}


def recorded(cell: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The package's state dict, and what it computed."""
    golden = load_file(GOLDEN / f"pararnn_torch_{cell}.safetensors")
    state = {name.removeprefix("state."): t for name, t in golden.items() if name.startswith("state.")}
    return state, golden


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("mode", ["auto", "sequential", "parallel"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_converted_stack_computes_what_the_package_does(
    cell: str, mode: str, pickled: bool, tmp_path: Path
) -> None:
    state, golden = recorded(cell)
    source = tmp_path / ("stack.pt" if pickled else "stack.safetensors")
    torch.save(state, source) if pickled else save_file(state, source)
    done = convert_checkpoint(source, tmp_path / "out", allow_pickle=pickled)
    assert isinstance(done, ConvertedCells)
    assert done.kinds == {f"layers.{i}.": CELLS[cell].__name__ for i in range(2)}
    y = golden["x"]
    with torch.no_grad():
        for i in range(2):
            y = load_cell(tmp_path / "out", prefix=f"layers.{i}.")(y, mode=mode)[0]
            if i == 0:
                assert_same(y, golden["y_of_layer_0"])
    assert_same(y, golden["y"])


@pytest.mark.parametrize("prefix", ["", "rnn.layers.0.", "model.cell."])
@pytest.mark.parametrize("cell", CELLS)
def test_a_single_cell_is_loaded_under_any_prefix(cell: str, prefix: str, tmp_path: Path) -> None:
    state, golden = recorded(cell)
    first = {prefix + n.removeprefix("layers.0."): t for n, t in state.items() if n.startswith("layers.0.")}
    save_file(first, tmp_path / "cell.safetensors")
    loaded = load_cell(tmp_path / "cell.safetensors")
    assert isinstance(loaded, CELLS[cell])
    with torch.no_grad():
        assert_same(loaded(golden["x"])[0], golden["y_of_layer_0"])
    unbounded = load_cell(tmp_path / "cell.safetensors", max_recurrent_norm=None)
    assert loaded.A.abs().max() == 0.5 < unbounded.A.abs().max()


@pytest.mark.parametrize("cell", CELLS)
def test_a_language_model_with_such_cells_is_converted_by_a_key_map(cell: str, tmp_path: Path) -> None:
    model = tiny_model(cell, num_heads=1)
    gates = {"gru": ("z", "r", "n"), "lstm": ("f", "o", "z")}[cell]
    theirs = {"gru": (0, 1, 2), "lstm": (0, 2, 1)}[cell]
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.weights():
        prefix, leaf = name.rsplit(".", 1)
        if not prefix.endswith(".cell"):
            tensors[name] = tensor.clone()
        elif leaf in "AC":
            letter = "a" if leaf == "A" else "c"
            tensors |= {f"{prefix}.{letter}_{g}": row.clone() for g, row in zip(gates, tensor, strict=False)}
        elif leaf == "B":
            tensors[f"{prefix}.W_x.weight"] = (
                tensor[0].permute(1, 2, 0)[list(theirs)].flatten(0, 1).contiguous()
            )
        else:
            tensors[f"{prefix}.W_x.bias"] = tensor[list(theirs)].flatten().contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    names = {n.replace("layers.0.", "layers.{i}.") for n, _ in model.weights() if "layers.1." not in n}
    key_map = tmp_path / "map.json"
    key_map.write_text(_key_map(names, cell))
    convert_checkpoint(tmp_path / "model.safetensors", tmp_path / "out", key_map=key_map)
    ids = torch.randint(0, model.config.vocab_size, (1, 9))
    with torch.no_grad():
        again = load_checkpoint(tmp_path / "out", pack=False).logits(ids)
        assert torch.equal(again, model.logits(ids))


def _key_map(names: set[str], cell: str) -> str:
    config = tiny_config(cell, num_heads=1)
    stated = {
        name: getattr(config, name) for name in ("conv_activation", "gate_order", "mlp_residual", "norm_eps")
    }
    return json.dumps({"keys": {name: name for name in names}, "config": stated})


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update({"layers.0.a_z": torch.zeros(4)}),
        lambda s: s.update({"layers.0.W_x.weight": torch.zeros(14, 6)}),
        lambda s: s.update({"layers.0.W_x.weight": torch.zeros(15)}),
        lambda s: s.update({"layers.0.W_x.bias": torch.zeros(3, 5)}),
        lambda s: s.update({"layers.0.a_z": torch.zeros(5, 1)}),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_shapes_that_do_not_fit_are_one_clear_error(
    cell: str, change: Callable[[dict[str, Tensor]], None]
) -> None:
    state, _ = recorded(cell)
    change(state)
    with pytest.raises(CheckpointError, match=r"holds no cell of pararnn-torch: layers\.0\."):
        with_our_cells(Path("stack"), state)


def test_a_stack_needs_a_prefix_and_a_new_directory(tmp_path: Path) -> None:
    state, _ = recorded("gru")
    save_file(state, tmp_path / "stack.safetensors")
    with pytest.raises(
        CheckpointError, match=r"several cells: give one of the prefixes layers\.0\., layers\.1\."
    ):
        load_cell(tmp_path / "stack.safetensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="exists: cells are written into a new directory"):
        convert_checkpoint(tmp_path / "stack.safetensors", tmp_path / "out")


def test_cells_that_mix_channels_are_refused(tmp_path: Path) -> None:
    state = {f"A_{gate}": torch.zeros(2, 3, 3) for gate in "zrn"}
    state |= {"W_x.weight": torch.zeros(18, 4), "W_x.bias": torch.zeros(18)}
    save_file(state, tmp_path / "cell.safetensors")
    with pytest.raises(CheckpointError, match="names that are not known here"):
        convert_checkpoint(tmp_path / "cell.safetensors", tmp_path / "out")
