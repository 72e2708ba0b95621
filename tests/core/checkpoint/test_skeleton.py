import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pararnn_core.checkpoint.skeleton import skeleton
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.fixtures import tiny_config

ROOT = Path(__file__).resolve().parents[3]
BUILD = """
import sys
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.checkpoint.skeleton import skeleton
with skeleton():
    ParaRNNForCausalLM(ModelConfig.preset("7b", "lstm"))
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_skeleton_has_the_models_names_and_shapes(cell: str) -> None:
    with skeleton():
        empty = ParaRNNForCausalLM(tiny_config(cell))
    full = ParaRNNForCausalLM(tiny_config(cell))
    assert {name: p.shape for name, p in empty.named_parameters()} == {
        name: p.shape for name, p in full.named_parameters()
    }
    assert all(p.is_meta for p in empty.parameters())


def test_building_a_skeleton_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    with skeleton():
        ParaRNNForCausalLM(tiny_config())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_skeleton_of_a_large_model_does_not_import_the_compiler() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", BUILD], env=environment, check=False).returncode == 0
