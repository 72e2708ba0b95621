"""A checkpoint in any weight format as a differentiable model whose weights do not change."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.checkpoint.checkpoint import Progress
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import parameter_shapes
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.quantize.quantize_model import from_rows

# Of the residual stream, which checkpointing keeps for every layer.
_STREAM_BYTES = 4
# Tensors of width d, and of the MLP's width, that one layer keeps while its gradient is computed.
_WIDE, _MLP_WIDE = 40, 10


def frozen_model(
    path: str | os.PathLike[str], dtype: str = "float32", progress: Progress | None = None
) -> ParaRNNForCausalLM:
    """Load an unpacked model whose parameters need no gradient. Raises CheckpointError.

    dtype: "float32" or "bfloat16", in which the matrices are held. Quantised ones are dequantised.
    """
    model = load_checkpoint(path, pack=False, progress=progress)
    shapes = parameter_shapes(model.config.sizes, model.config.num_hidden_layers, model.config.tie_embeddings)
    held = getattr(torch, dtype)
    quantized = dict(model.quantized_matrices())
    for name, matrix in quantized.items():
        model.set_weight(name, from_rows(matrix.dequantize().to(held), torch.Size(shapes[name])))
    for name, parameter in model.named_parameters():
        if name not in quantized:
            # Vectors are few, and rounding them would move the loss for nothing.
            parameter.data = parameter.data.to(
                held if parameter.dim() > 1 and name[-1] not in "AC" else torch.float32
            )
    model.config = replace(model.config, quantization=None, dtype="float32")
    return model.requires_grad_(False)


def memory_bytes(config: ModelConfig, dtype: str, num_tokens: int) -> int:
    """Return about the memory that the gradient of `num_tokens` tokens takes, weights included."""
    wide, mlp, layers = config.hidden_size, config.mlp_hidden_size, config.num_hidden_layers
    weights = config.num_parameters * int(getattr(torch, dtype).itemsize)
    streams = layers * wide * _STREAM_BYTES
    return weights + num_tokens * (streams + _STREAM_BYTES * (_WIDE * wide + _MLP_WIDE * mlp))
