"""A model with the kernels of a GPU, all of them, gives what the packed model of the CPU gives.

From the plan of a step through checks, launches and kernels to the logits and the ids drawn from them, with
fibers for the GPU's threads: all but what torch multiplies and how a GPU orders memory.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig
from pararnn_core.ops.scans import linear_scan, newton_recurrence
from pararnn_core.quantize.quantize_model import quantize_model
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.solvers.scan import affine_scan, reverse_affine_scan
from pararnn_core.state import RecurrentState
from tests.core.batches import Chunk
from tests.core.device.models import FakeCapturer, on_device, with_graphs
from tests.cuda_host.ops_on_fibers import has_kernel, library, use_fibers
from tests.gpu.models import STEPS, poisoned_state, random_model, run_steps, tokens

pytestmark = pytest.mark.timeout(1200)  # it may wait for another process that builds

TOLERANCE = 1e-4
"""Absolute tolerance of float32 weights on logits of a few units."""
NARROW_TOLERANCE = 0.1
"""Tolerance of bfloat16 weights. Rows are rounded to 8 bits between products."""
QUANTIZED_TOLERANCE = 0.3
"""A CPU rounds activations to 8 bits too, a GPU does not."""
LONG = [[Chunk(2, tokens(300), True), Chunk(0, tokens(1, 5), True)]]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"gate_order": "norm_then_gate", "tie_embeddings": True, "mlp_residual": False, "residual_scale": "none"},
    {"hidden_size": 46, "intermediate_size": 51, "conv_kernel": 2, "conv_activation": "none"},
]


@pytest.fixture
def patch() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def assert_close(result: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance, equal_nan=True)


def assert_same_state(result: RecurrentState, expected: RecurrentState, tolerance: float) -> None:
    for name in ("cell", "conv", "last_hidden"):
        pools = (result[name].float(), expected[name].float())
        assert_close(*pools, tolerance)
    assert torch.equal(result.seen, expected.seen)


def assert_same_run(
    gpu: ParaRNNForCausalLM, cpu: ParaRNNForCausalLM, tolerance: float, steps: Any = STEPS
) -> None:
    expected, state = poisoned_state(cpu), poisoned_state(gpu)
    for result, wanted in zip(run_steps(gpu, state, steps), run_steps(cpu, expected, steps), strict=True):
        assert_close(result, wanted, tolerance)
    assert_same_state(state, expected, tolerance)


@pytest.mark.parametrize("over", VARIANTS, ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_float32_model_gives_what_it_gives_on_a_cpu(
    cell: str, over: dict[str, Any], patch: pytest.MonkeyPatch
) -> None:
    cpu = random_model(cell, **over).pack()
    use_fibers(patch)
    assert_same_run(on_device(random_model(cell, **over)), cpu, TOLERANCE)


@pytest.mark.parametrize("time_warps", [1, 2, 4])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_prompts_by_newton_give_what_a_cpu_gives_step_by_step(
    cell: str, time_warps: int, patch: pytest.MonkeyPatch
) -> None:
    cpu = random_model(cell).pack()
    use_fibers(patch, time_warps)
    gpu = on_device(random_model(cell))
    assert_same_run(gpu, cpu, TOLERANCE, LONG)
    report = gpu.take_newton_report()
    assert report is not None
    assert 0 < report.iterations <= 8
    assert report.residual <= 1e-6
    assert report.fallbacks == 0


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_model_is_within_its_tolerance(cell: str, patch: pytest.MonkeyPatch) -> None:
    over = {"dtype": "bfloat16", "activation_dtype": "bfloat16"}
    cpu = random_model(cell, **over).pack()
    use_fibers(patch)
    assert_same_run(on_device(random_model(cell, **over)), cpu, NARROW_TOLERANCE)


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_model_is_within_its_tolerance(bits: int, patch: pytest.MonkeyPatch) -> None:
    config = QuantizationConfig("round", bits, 32)
    cpu = quantize_model(random_model("gru"), config).pack()
    use_fibers(patch)
    taken: list[int] = []
    patch.setattr(ops, "row_product", _counting(ops.row_product, taken))
    assert_same_run(on_device(quantize_model(random_model("gru"), config)), cpu, QUANTIZED_TOLERANCE)
    assert max(taken) <= ops.MOST_PRODUCT_ROWS
    assert len(taken) > 2, "few rows are multiplied in place"


def _counting(product: Any, taken: list[int]) -> Any:
    def count(x: Tensor, *rest: Any, **named: Any) -> Tensor:
        taken.append(len(x))
        result: Tensor = product(x, *rest, **named)
        return result

    return count


def test_decodes_through_graphs_give_what_a_cpu_gives(patch: pytest.MonkeyPatch) -> None:
    cpu = random_model("lstm").pack()
    use_fibers(patch)
    gpu = with_graphs(random_model("lstm"), FakeCapturer())
    params = SamplingParams(max_tokens=6, seed=3, temperature=0.7, repetition_penalty=1.5, ignore_eos=True)
    state = gpu.new_state(2)
    gpu.capture_decodes(state)
    assert list(gpu.generate(tokens(30), params, state, 1)) == list(cpu.generate(tokens(30), params))


def test_states_of_all_steps_and_linear_scans_are_those_of_the_references(patch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    bounds = torch.tensor([0, 5, 5, 150], dtype=torch.int32)
    bx = torch.randn(150, 3, 19, generator=generator)
    a, initial = (torch.rand(*shape, generator=generator) - 0.5 for shape in ((3, 19), (3, 1, 19)))
    expected = ops.recurrence("gru", bx, a, None, initial, bounds)
    jacobian = torch.rand(150, 2, 2, 9, generator=generator) - 0.5
    source = torch.randn(150, 2, 9, generator=generator)
    use_fibers(patch)
    assert_close(ops.recurrence("gru", bx, a, None, initial, bounds), expected, 1e-5)
    states, report = newton_recurrence("gru", bx, a, None, initial, bounds)
    assert_close(states, expected, 1e-5)
    assert report.iterations.tolist()[1] == 0
    for reverse, scan in ((False, affine_scan), (True, reverse_affine_scan)):
        x, _ = linear_scan(jacobian, source, None, bounds, reverse)
        for first, last in ((0, 5), (5, 150)):
            starts = torch.arange(last - first) == 0
            wanted = scan(jacobian[first:last], source[first:last], starts)
            assert_close(x[first:last], wanted, 1e-5)


def test_an_argument_that_does_not_fit_is_named(patch: pytest.MonkeyPatch) -> None:
    use_fibers(patch)
    bounds = torch.tensor([0, 4], dtype=torch.int32)
    bx, a, initial = torch.zeros(4, 3, 8), torch.zeros(3, 8), torch.zeros(1, 1, 8)
    with pytest.raises(RuntimeError, match=r"a: expected shape \(3, 8\), got \(3, 7\)"):
        newton_recurrence("gru", bx, a[:, :7].contiguous(), None, initial, bounds)
    with pytest.raises(RuntimeError, match="cu_seqlens: expected int32"):
        newton_recurrence("gru", bx, a, None, initial, bounds.long())
    with pytest.raises(RuntimeError, match=r"c: the cell .lstm. needs"):
        newton_recurrence("lstm", bx, a, None, torch.zeros(1, 2, 8), bounds)
    with pytest.raises(RuntimeError, match="time_warps"):
        newton_recurrence("gru", bx, a, None, initial, bounds, time_warps=3)


CUDA_OPS = {
    "recurrence",
    "recurrence_",
    "newton_recurrence",
    "newton_recurrence_",
    "linear_scan",
    "sample",
    "row_product",
    "dequantize",
    "add_rms_norm_",
    "causal_conv1d_",
    "gated_rms_norm",
    "silu_mul",
}


def test_every_op_of_a_gpu_was_run_here() -> None:
    library()
    names = {
        str(schema.name).split("::")[1]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("pararnn_on_fibers::")
    }
    assert {name for name in names if has_kernel(name)} == CUDA_OPS
