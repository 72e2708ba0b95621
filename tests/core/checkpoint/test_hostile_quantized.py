"""Hostile quantised checkpoints: each is one CheckpointError, soon and in little memory, never a model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.checkpoint.checkpoint_directory import empty_model, expected_tensors
from tests.core.checkpoint.fuzz_checkpoints import KINDS
from tests.fixtures import tiny_config

ROOT = Path(__file__).resolve().parents[3]


def fuzz(seed: int, cases: int) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.core.checkpoint.fuzz_checkpoints", str(seed), str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    print(
        f"{result['cases']} hostile checkpoints of {result['kinds']} kinds, {result['longest']:.2f} s at most"
    )
    return result


def test_every_kind_of_hostile_checkpoint_is_one_clear_error() -> None:
    result = fuzz(0, 310)
    assert result["kinds"] == len(KINDS)
    assert result["wrong"] == []


def test_a_model_of_many_layers_has_the_tensors_that_its_config_says() -> None:
    """The names that are expected are made from one layer: they are those of the whole model."""
    for tied in (False, True):
        config = tiny_config("lstm", num_hidden_layers=12, tie_embeddings=tied)
        shapes = {name: tuple(each.shape) for name, each in empty_model(config).named_parameters()}
        assert {name: each.shape for name, each in expected_tensors(config).items()} == shapes


@pytest.mark.parametrize("name", ["\x1b[2Jx", "a\nb", "\ud800", "\0"])
def test_a_message_shows_what_would_move_the_cursor(name: str) -> None:
    text = str(CheckpointError("model", f"misses {name}"))
    assert text.isprintable()
    assert text.startswith("model: misses ")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_tens_of_thousands_of_hostile_checkpoints_are_refused() -> None:
    result = fuzz(1_000_000, 31_000)
    assert result["cases"] == 31_000
    assert result["wrong"] == []
