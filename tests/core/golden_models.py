"""Committed tiny models with the logits that they must give.

`python -m tests.core.golden_models` writes them anew: random weights, logits token after token in float64.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import tiny_model

FOLDER = Path(__file__).parent.parent / "golden"
SIZES = {
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}
OTHERS = {"gru": {}, "lstm": {"dtype": "bfloat16", "gate_order": "norm_then_gate", "conv_kernel": 3}}


def read_golden(path: Path) -> tuple[ParaRNNForCausalLM, Tensor, Tensor]:
    """The model, tokens (T,) int64 and logits (T, V) float32."""
    with safe_open(path, framework="pt") as file:
        config = ModelConfig.from_dict(json.loads(file.metadata()["config"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # a file, not a dict
    tokens, logits = tensors.pop("tokens"), tensors.pop("logits")
    model = ParaRNNForCausalLM(config).to(getattr(torch, config.dtype))
    model.load_state_dict(tensors)
    return model, tokens, logits


def write_golden(cell: str) -> None:
    model = tiny_model(cell, seed=20, **{**SIZES, **OTHERS[cell]})
    tokens = torch.randint(0, 64, (48,), generator=torch.Generator().manual_seed(21))
    logits = run_step_by_step(model, tokens.tolist(), torch.float64).logits.float()
    save_file(
        {**model.state_dict(), "tokens": tokens, "logits": logits},
        FOLDER / f"tiny_{cell}.safetensors",
        metadata={"config": json.dumps(model.config.to_dict())},
    )


if __name__ == "__main__":
    write_golden("gru")
    write_golden("lstm")
