"""The rounding of the MLPs' matrices, which the GGUF file has in other formats."""

from __future__ import annotations

from torch import Tensor

from pararnn_core.assemble.portable_rounding import round_portably
from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.weights.quantized_matrix import QuantizedMatrix


def rounded_mlp(name: str, weight: Tensor, matrix_format: MatrixFormat) -> QuantizedMatrix:
    """Round a matrix of an MLP, with the same bits on every machine.

    name: of the parameter, such as layers.0.mlp.up_proj.weight; weight: (O, I) float32
    """
    return round_portably([weight], matrix_format)
