"""Products with matrices in place on the device, against their dequantised values in float64."""

import pytest
import torch
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.ops.products import MOST_PRODUCT_ROWS, dequantize, row_product
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

BOUND = 1e-5
"""Error of a float32 sum relative to the sum of its terms' sizes. Tensor cores truncate their sums."""
ROUNDING = 2**-8
FORMATS = [MatrixFormat(8, 64), MatrixFormat(8, 48), MatrixFormat(4, 128), MatrixFormat(4, 32), None]
COUNTS = (1, 7, 8, 9, 16, 17, 33, MOST_PRODUCT_ROWS)

every_format = pytest.mark.parametrize("its", FORMATS, ids=str)


def matrix(outputs: int, inputs: int, its: MatrixFormat | None) -> QuantizedMatrix | Tensor:
    """On the device; bfloat16 without a format."""
    weight = torch.randn(outputs, inputs)
    return weight.bfloat16().cuda() if its is None else round_matrix(weight, its).to("cuda")


def values(weight: QuantizedMatrix | Tensor) -> Tensor:
    """(O, I) float64 on the host."""
    held = weight if isinstance(weight, Tensor) else weight.to("cpu").dequantize()
    return held.double().cpu()


def poison(*shape: int, dtype: torch.dtype = torch.float32) -> None:
    """Leaves NaN where torch will lay down the next tensor of that size."""
    torch.full(shape, torch.nan, dtype=dtype, device="cuda")


def assert_product(result: Tensor, x: Tensor, weight: Tensor, rounding: float = 0.0) -> None:
    """result (T, O) = x (T, I) weight (O, I) of float64."""
    expected = x.double().cpu() @ weight.T
    sizes = x.double().cpu().abs() @ weight.abs().T
    error = (result.double().cpu() - expected).abs()
    assert bool((error <= BOUND * sizes + rounding * expected.abs()).all()), (error / sizes).max()


@pytest.mark.parametrize("count", COUNTS)
@every_format
def test_product_of_few_rows_is_that_of_the_dequantised_matrix(its: MatrixFormat | None, count: int) -> None:
    for outputs, inputs in ((70, 96), (1024, 2048), (33, 5632)):
        weight, x = matrix(outputs, inputs, its), torch.randn(count, inputs, device="cuda").bfloat16()
        poison(count, outputs)
        assert_product(row_product(x, weight, wide=True), x, values(weight))
        poison(count, outputs, dtype=torch.bfloat16)
        assert_product(row_product(x, weight), x, values(weight), ROUNDING)


@every_format
def test_heads_see_their_own_inputs_and_gates_lie_apart(its: MatrixFormat | None) -> None:
    heads, gates, inputs, outputs, count = 4, 3, 96, 40, 5
    weight = matrix(heads * gates * outputs, inputs, its)
    x = torch.randn(count, heads * inputs, device="cuda").bfloat16()
    out = row_product(x, weight, heads, gates, wide=True).view(count, gates, heads, outputs)
    blocks = values(weight).view(heads, gates, outputs, inputs)
    for head in range(heads):
        for gate in range(gates):
            own = x[:, head * inputs : (head + 1) * inputs]
            assert_product(out[:, gate, head], own, blocks[head, gate])


@every_format
def test_a_row_alone_has_the_bits_that_it_has_among_others(its: MatrixFormat | None) -> None:
    weight = matrix(200, 1056, its)
    x = torch.randn(MOST_PRODUCT_ROWS, 1056, device="cuda").bfloat16()
    alone = [row_product(row[None], weight, wide=True) for row in x]
    for count in COUNTS:
        assert torch.equal(row_product(x[:count], weight, wide=True), torch.cat(alone[:count]))


@pytest.mark.parametrize("its", [MatrixFormat(8, 16), MatrixFormat(8, 1024), MatrixFormat(4, 48)], ids=str)
def test_dequantised_rows_are_those_of_the_matrix(its: MatrixFormat) -> None:
    host = round_matrix(torch.randn(301, 1056), its)
    weight, tokens = host.to("cuda"), torch.tensor([300, 0, 7, 7])
    poison(301, 1056, dtype=torch.bfloat16)
    assert torch.equal(dequantize(weight).cpu(), host.dequantize().bfloat16())
    assert torch.equal(dequantize(weight, slice(5, 90), wide=True).cpu(), host.dequantize(slice(5, 90)))
    assert torch.equal(dequantize(weight, tokens.cuda(), wide=True).cpu(), host.dequantize(tokens))


@every_format
def test_product_runs_on_the_callers_stream_and_in_a_graph(its: MatrixFormat | None) -> None:
    weight, x = matrix(70, 96, its), torch.randn(3, 96, device="cuda").bfloat16()
    expected = row_product(x, weight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = row_product(x, weight)
    out.fill_(torch.nan)
    graph.replay()
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("rows", "inputs", "its", "message"),
    [
        (65, 96, MatrixFormat(8, 32), "x: expected up to 64 rows"),
        (3, 48, MatrixFormat(8, 32), "inputs: expected a multiple of 32"),
        (3, 96, MatrixFormat(4, 48), "group_size: of 4 bits"),
    ],
)
def test_what_the_kernel_does_not_take_is_refused_by_name(
    rows: int, inputs: int, its: MatrixFormat, message: str
) -> None:
    x = torch.randn(rows, inputs, device="cuda").bfloat16()
    with pytest.raises(RuntimeError, match=message):
        row_product(x, matrix(70, inputs, its))
