"""A model served on a GPU gives what the packed model gives on a CPU, within stated tolerances."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pararnn_core.checkpoint import CheckpointError, load_checkpoint
from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig
from pararnn_core.models.pararnn.state_layout import state_bytes
from pararnn_core.quantize.quantize_model import quantize_model
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState
from tests.core.batches import Chunk
from tests.gpu.models import DEVICE, on_gpu, poisoned_state, random_model, run_steps, tokens

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

TOLERANCE = 1e-4
"""Absolute tolerance of float32 weights on logits of a few units."""
NARROW_TOLERANCE = 0.1
"""Tolerance of bfloat16 weights. Rows are rounded to 8 bits before every product."""
QUANTIZED_TOLERANCE = 0.3
"""A CPU rounds activations to 8 bits too, a GPU does not."""
LONG = [[Chunk(2, tokens(3000), True)]]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"gate_order": "norm_then_gate", "tie_embeddings": True, "mlp_residual": False, "residual_scale": "none"},
    {"activation_dtype": "bfloat16", "conv_kernel": 2, "conv_activation": "none"},
]


def assert_close(result: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(result.cpu(), expected.cpu(), rtol=0, atol=tolerance, equal_nan=True)


def assert_same_state(result: RecurrentState, expected: RecurrentState, tolerance: float = TOLERANCE) -> None:
    for name in ("cell", "conv", "last_hidden"):
        assert_close(result[name], expected[name], tolerance)
    assert torch.equal(result.seen.cpu(), expected.seen.cpu())


@pytest.mark.parametrize("over", VARIANTS, ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_float32_model_gives_what_it_gives_on_a_cpu(cell: str, over: dict[str, Any]) -> None:
    # To which bfloat16 a sum is rounded, its last bit may decide.
    tolerance = 5e-2 if "activation_dtype" in over else TOLERANCE
    cpu, gpu = random_model(cell, **over).pack(), on_gpu(cell, **over)
    expected, state = poisoned_state(cpu), poisoned_state(gpu)
    for result, wanted in zip(run_steps(gpu, state), run_steps(cpu, expected), strict=True):
        assert_close(result, wanted, tolerance)
    assert_same_state(state, expected, tolerance)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_model_is_within_its_tolerance(cell: str) -> None:
    over = {"dtype": "bfloat16", "activation_dtype": "bfloat16"}
    cpu, gpu = random_model(cell, **over).pack(), on_gpu(cell, **over)
    results, wanted = run_steps(gpu, poisoned_state(gpu)), run_steps(cpu, poisoned_state(cpu))
    for result, expected in zip(results, wanted, strict=True):
        assert_close(result, expected, NARROW_TOLERANCE)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_long_prompt_is_solved_by_newton_and_its_report_says_that_it_converged(cell: str) -> None:
    cpu, gpu = random_model(cell).pack(), on_gpu(cell)
    expected, state = poisoned_state(cpu), poisoned_state(gpu)
    [wanted], [result] = run_steps(cpu, expected, LONG), run_steps(gpu, state, LONG)
    assert_close(result, wanted)
    assert_same_state(state, expected)
    report = gpu.take_newton_report()
    assert report is not None, "the table sent 3000 tokens of 64 channels to the sequential scan"
    assert 0 < report.iterations <= 8
    assert report.residual <= 1e-6
    assert report.fallbacks == 0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_quantised_checkpoint_stays_quantised_and_gives_the_cpus_logits(
    cell: str, bits: int, tmp_path: Path
) -> None:
    model = quantize_model(random_model(cell), QuantizationConfig("round", bits, 32))
    save_checkpoint(model, tmp_path / "model")
    cpu, gpu = (load_checkpoint(tmp_path / "model", device) for device in ("cpu", DEVICE))
    assert gpu.weight_bytes == sum(matrix.nbytes for _, matrix in model.quantized_matrices())
    results, wanted = run_steps(gpu, poisoned_state(gpu)), run_steps(cpu, poisoned_state(cpu))
    for result, expected in zip(results, wanted, strict=True):
        assert_close(result, expected, QUANTIZED_TOLERANCE)


def test_loaded_model_keeps_its_activations_as_the_gpu_does(tmp_path: Path) -> None:
    fingerprint = save_checkpoint(random_model("gru", activation_dtype=None), tmp_path / "model")
    gpu = load_checkpoint(tmp_path / "model", DEVICE)
    state = gpu.new_state(2)
    assert (gpu.config.activation_dtype, state["conv"].dtype) == ("bfloat16", torch.bfloat16)
    assert state.snapshot(0).nbytes == state_bytes(gpu.config)
    assert gpu.fingerprint == fingerprint


def test_checkpoint_larger_than_the_memory_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(random_model("gru"), tmp_path / "model")
    monkeypatch.setattr("pararnn_core.checkpoint.checkpoint.free_bytes", lambda device: 1000)
    with pytest.raises(CheckpointError, match=r"its weights need .* KiB of the memory of cuda:0, and 1000 b"):
        load_checkpoint(tmp_path / "model", DEVICE)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_snapshot_goes_to_the_host_and_back_bit_for_bit(cell: str) -> None:
    gpu = on_gpu(cell, activation_dtype="bfloat16")
    state = poisoned_state(gpu)
    run_steps(gpu, state)
    kept = state.snapshot(3)
    assert kept.buffer.device.type == "cpu"
    state.restore(4, kept)
    state.copy(4, 2)
    assert state.snapshot(2) == state.snapshot(4) == kept
    state.reset(4)
    assert not state.snapshot(4).buffer.any()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_head_of_last_hidden_gives_the_logits(cell: str) -> None:
    gpu = on_gpu(cell)
    state = poisoned_state(gpu)
    *_, logits = run_steps(gpu, state)
    assert_close(gpu.head(state, [3]), logits[-1:])


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_generated_ids_are_those_of_the_cpu(penalty: float) -> None:
    params = SamplingParams(max_tokens=20, seed=3, temperature=0.7, repetition_penalty=penalty)
    cpu, gpu = random_model("lstm").pack(), on_gpu("lstm")
    assert list(gpu.generate(tokens(30), params)) == list(cpu.generate(tokens(30), params))
