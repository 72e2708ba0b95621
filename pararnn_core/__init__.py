"""Constant-memory recurrent language models: cells, solvers, state, checkpoints. Needs no server."""

from pararnn_core.checkpoint.checkpoint import load_checkpoint
from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.quantize.quantize import quantize_checkpoint

__all__ = [
    "ModelConfig",
    "ParaRNNForCausalLM",
    "load_checkpoint",
    "quantize_checkpoint",
    "save_checkpoint",
]
