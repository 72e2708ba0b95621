"""The tables of `make gpu` with tiny sizes, on the device: what is measured only there is there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.scan_problem import solver_name
from pararnn_core.device.tune_solvers import SOLVERS

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]


def tiny_run(group: str, folder: Path) -> dict[str, Any]:
    assert main(["--tiny", "--only", group, "--output", str(folder)]) == 0
    (path,) = folder.glob("*.json")
    report: dict[str, Any] = json.loads(path.read_text())
    assert len(report["found"]["notes"]) == 1
    return report


def test_limits_and_scans_of_a_device_are_measured(tmp_path: Path) -> None:
    found = tiny_run("scans", tmp_path)["found"]
    limits = found["limits"]
    assert limits["multiprocessors"] > 0
    assert 1e8 < limits["clock"] < 1e10
    assert 0 < limits["node"]["median"] < 1e-3
    for each in found["scans"]:
        assert set(each["seconds"]) == {"auto", *map(solver_name, SOLVERS)}
        assert set(each["solves"]) == set(each["seconds"]) - {"auto", "sequential"}
        for solve in each["solves"].values():
            assert 0 < solve["updates"] <= 8
            assert solve["residual"] <= 1e-6
            assert solve["fallbacks"] == 0


def test_models_of_a_device_are_measured_with_their_memory(tmp_path: Path) -> None:
    report = tiny_run("model", tmp_path)
    assert all(each["working"] > 0 for each in report["found"]["prefills"])
    reached = {each["what"]: each["is_reached"] for each in report["targets"]}
    assert reached["prefill, working memory, most of least over all lengths"] is not None
