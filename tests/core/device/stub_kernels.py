"""CPU substitutes of the CUDA kernels that read a matrix in place, with the same results and errors."""

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.weights.quantized_matrix import QuantizedMatrix


class StubKernels:
    """calls: the name of each operation and its number of rows."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def row_product(
        self, x: Tensor, weight: QuantizedMatrix | Tensor, heads: int = 1, gates: int = 1, wide: bool = False
    ) -> Tensor:
        outputs, inputs = weight.shape
        if isinstance(weight, Tensor):
            assert ops.takes_floats(weight)
        else:
            assert ops.takes_integers(weight.bits, weight.group_size, inputs)
        assert len(x) <= ops.MOST_PRODUCT_ROWS
        assert x.dtype == torch.bfloat16
        assert x.shape == (len(x), heads * inputs)
        assert x.is_contiguous()
        self.calls.append(("row_product", len(x)))
        values = weight.float() if isinstance(weight, Tensor) else weight.dequantize()
        blocks = values.view(heads, gates, outputs // (heads * gates), inputs)
        out = torch.einsum("thi,hgoi->tgho", x.float().view(len(x), heads, inputs), blocks)
        return out.reshape(len(x), outputs).to(torch.float32 if wide else torch.bfloat16)

    def dequantize(
        self, weight: QuantizedMatrix, rows: Tensor | slice = slice(None), wide: bool = False
    ) -> Tensor:
        assert ops.takes_integers(weight.bits, weight.group_size, weight.in_features)
        out = weight.dequantize(rows).to(torch.float32 if wide else torch.bfloat16)
        self.calls.append(("dequantize", len(out)))
        return out
