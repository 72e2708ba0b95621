from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner

from pararnn_core.cells import CELLS
from pararnn_core.checkpoint import checkpoint_info
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.fixtures import tiny_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden"


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(params=["gru", "lstm"])
def facts(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    path = tiny_checkpoint(tmp_path / "model", request.param)
    loaded: dict[str, Any] = json.loads(_run("inspect", str(path), "--json"))
    return loaded


def test_inspect_counts_what_the_formulas_count(facts: dict[str, Any]) -> None:
    config = checkpoint_info(facts["path"]).config
    assert facts["num_parameters"] == config.num_parameters
    assert facts["state_bytes"] == state_bytes(config) == sum(part["bytes"] for part in facts["state"])
    assert facts["weight_bytes"] == sum(tensor["bytes"] for tensor in facts["tensors"])
    assert facts["config"] == config.to_dict()


def test_the_limit_is_the_bandwidth_over_the_bytes_of_a_token(facts: dict[str, Any]) -> None:
    limit = facts["limit"]
    matrices = [t["bytes"] for t in facts["tensors"] if t["name"].endswith("_proj.weight")]
    assert sum(matrices) < limit["bytes_read_per_token"] <= facts["weight_bytes"]
    assert limit["decode_tokens_per_second"] == pytest.approx(
        limit["read_bytes_per_second"] / limit["bytes_read_per_token"]
    )


def test_without_measuring_there_is_no_limit(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path / "model", "gru")
    assert json.loads(_run("inspect", str(path), "--json", "--no-measure"))["limit"] is None


def test_the_tables_hold_every_tensor_and_every_field(checkpoint: Path) -> None:
    facts = json.loads(_run("inspect", str(checkpoint), "--json"))
    shown = _run("inspect", str(checkpoint))
    names = [each["name"] for each in (*facts["tensors"], *facts["state"])]
    assert [name for name in (*names, *facts["config"], facts["fingerprint"]) if name not in shown] == []


def test_only_verify_claims_to_have_checked(checkpoint: Path) -> None:
    assert json.loads(_run("inspect", str(checkpoint), "--json"))["verified"] is False
    assert json.loads(_run("inspect", str(checkpoint), "--json", "--verify"))["verified"] is True


def test_inspect_takes_the_checkpoint_from_the_environment(checkpoint: Path) -> None:
    environment = {"PARARNN_CHECKPOINT": str(checkpoint)}
    result = CliRunner().invoke(build_app(), ["inspect", "--json"], env=environment)
    assert json.loads(result.stdout)["path"] == str(checkpoint)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_converted_model_can_be_inspected_and_verified(cell: str, tmp_path: Path) -> None:
    source, target = GOLDEN / f"fork_para{cell}_state_dict.pt", tmp_path / "converted"
    options = ("--allow-pickle", "--dtype", "bfloat16", "--set", "eos_token_id=2")
    told = _run("convert", str(source), str(target), *options)
    facts = json.loads(_run("inspect", str(target), "--json", "--verify"))
    assert facts["fingerprint"] in told
    assert facts["config"]["cell"] == cell
    assert facts["config"]["dtype"] == "bfloat16"
    assert facts["config"]["eos_token_id"] == 2


def test_a_size_is_shown_without_a_model_of_it() -> None:
    facts = json.loads(_run("inspect", "7b", "--json", "--no-measure"))
    models = {(each["cell"], each["weights"]): each for each in facts["models"]}
    assert len(models) == 4 * len(CELLS)
    for (cell, weights), each in models.items():
        config = ModelConfig.preset("7b", cell)
        assert each["num_parameters"] == config.num_parameters
        assert each["state_bytes"] == state_bytes(config)
        assert each["memory_bytes"] == each["weight_bytes"] + facts["slots"] * each["state_bytes"]
        bits = 8 * each["weight_bytes"] / each["num_parameters"]
        assert bits == pytest.approx({"f32": 32, "bf16": 16, "int8": 8, "int4": 4}[weights], rel=0.2)
    shown = _run("inspect", "7b")
    assert shown.count("tokens/s") == 4 * len(CELLS)
    assert "Traceback" not in shown


def test_a_checkpoint_with_the_name_of_a_size_comes_first(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path / "7b", "gru")
    environment = {"PARARNN_CHECKPOINT_DIR": str(tmp_path)}
    result = CliRunner().invoke(build_app(), ["inspect", "7b", "--json", "--no-measure"], env=environment)
    assert json.loads(result.stdout)["path"] == str(path)


def test_a_fingerprint_is_whole_on_a_narrow_terminal(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pararnn_server.commands.inspect_checkpoint._WIDTH_OF_A_FILE", 60)
    shown = re.sub(r"[^0-9a-f]", "", _run("inspect", str(checkpoint), "--no-measure"))
    assert str(checkpoint_info(checkpoint).fingerprint) in shown
