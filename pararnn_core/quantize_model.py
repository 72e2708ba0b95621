"""A float model -> the same model with integers for matrices."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pararnn_core.checkpoint_directory import empty_model
from pararnn_core.model import ParaRNNForCausalLM
from pararnn_core.quantization_config import QuantizationConfig, matrix_names
from pararnn_core.quantize_round import round_matrix


@torch.no_grad()
def quantize_model(model: ParaRNNForCausalLM, quantization: QuantizationConfig) -> ParaRNNForCausalLM:
    """A new model, each matrix rounded by itself. `model` is unpacked and stays as it is."""
    config = replace(model.config, dtype="float32", quantization=quantization)
    quantized = empty_model(config)
    matrices = set(matrix_names(config.num_hidden_layers, config.tie_embeddings))
    for name, parameter in model.named_parameters():
        if name in matrices:
            its = quantization.format_of(name)
            quantized.set_weight(name, round_matrix(as_rows(parameter.detach().float()), its))
        else:
            quantized.set_weight(name, parameter.detach().float().clone())
    return quantized.eval()


def as_rows(parameter: Tensor) -> Tensor:
    """(O, I) as it is; B (H, I, rows, outputs) -> (H * rows * outputs, I)."""
    return parameter if parameter.dim() == 2 else parameter.permute(0, 2, 3, 1).flatten(0, 2)
