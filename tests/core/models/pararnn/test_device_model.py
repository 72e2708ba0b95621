"""A model on a device gives what the packed model of the CPU gives, run here on the CPU."""

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings

from pararnn_core.device import matrix
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.state_layout import state_parts
from pararnn_core.ops import STEP_STAGES
from pararnn_core.state import PAD_SLOT_ID, RecurrentState
from tests.core.batches import Chunk, feed, poisoned, run_alone
from tests.core.device.models import VARIANTS, TorchNewton, on_device
from tests.core.models.pararnn.test_exactness import NUM_SLOTS, Traffic, traffic
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import TINY_VOCAB_SIZE, tiny_config, tiny_model
from tests.quantized_fixtures import FORMATS, float_twin, tiny_quantized_model

TOLERANCE = 2e-5
"""Absolute tolerance of float32 weights on logits of a few units. Only the order of sums differs."""
NARROW_TOLERANCE = 0.1
"""Tolerance of bfloat16 weights. Rows are rounded to 8 bits before every product, as on a GPU."""
TOKENS = [7 * i % TINY_VOCAB_SIZE for i in range(70)]

every_variant = pytest.mark.parametrize("variant", VARIANTS)


@functools.cache
def pair(variant: str, solver: str = "sequential") -> tuple[ParaRNNForCausalLM, ParaRNNForCausalLM]:
    """The same model packed, and through DeviceModel."""
    solvers = TorchNewton() if solver == "newton" else None
    return tiny_model(**VARIANTS[variant]).pack(), on_device(tiny_model(**VARIANTS[variant]), solvers)


def assert_close(result: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


def assert_same_state(result: RecurrentState, expected: RecurrentState, tolerance: float = TOLERANCE) -> None:
    """NaN where NaN is expected: untouched slots stay untouched."""
    for name in ("cell", "conv", "last_hidden"):
        torch.testing.assert_close(result[name], expected[name], rtol=0, atol=tolerance, equal_nan=True)
    assert torch.equal(result.seen, expected.seen)


@pytest.mark.parametrize("solver", ["sequential", "newton"])
@every_variant
@settings(max_examples=12)
@given(work=traffic())
def test_device_model_equals_the_packed_model_on_any_traffic(
    variant: str, solver: str, work: Traffic
) -> None:
    packed, device = pair(variant, solver)
    expected, state = poisoned(packed, NUM_SLOTS), poisoned(device, NUM_SLOTS)
    for step in work.steps:
        for chunk, wanted, logits in zip(
            step, feed(packed, expected, step), feed(device, state, step), strict=True
        ):
            if chunk.slot != PAD_SLOT_ID:
                assert_close(logits, wanted)
    assert_same_state(state, expected)


@pytest.mark.parametrize("solver", ["sequential", "newton"])
@every_variant
def test_prefill_in_chunks_equals_step_by_step(variant: str, solver: str) -> None:
    _, model = pair(variant, solver)
    whole, final = run_alone(model, TOKENS)
    for size in (1, 3, 32):
        state = poisoned(model, 2)
        rows = [
            feed(model, state, [Chunk(1, TOKENS[start : start + size], fresh=start == 0)])[0]
            for start in range(0, len(TOKENS), size)
        ]
        assert_close(torch.cat(rows), whole)
        for name, view in state.snapshot(1).views().items():
            assert_close(view, final.views()[name])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_are_within_the_promised_bound_of_float64(cell: str) -> None:
    model = tiny_model(cell, 3)
    truth, stepped = (run_step_by_step(model, TOKENS, dtype) for dtype in (torch.float64, torch.float32))
    logits, final = run_alone(on_device(model), TOKENS)
    served = {"logits": logits, **final.views()}
    for name in ("cell", "conv", "last_hidden", "logits"):
        reference = getattr(truth, name)
        scale = reference.abs().max()
        bound = max(1e-5, 4 * ((getattr(stepped, name) - reference).abs().max() / scale).item())
        assert ((served[name] - reference).abs().max() / scale).item() <= bound, name


@pytest.mark.parametrize(
    "over", [{"dtype": "bfloat16"}, {"dtype": "bfloat16", "activation_dtype": "bfloat16"}], ids=str
)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_weights_give_the_packed_models_logits_within_the_tolerance(
    cell: str, over: dict[str, Any]
) -> None:
    expected, _ = run_alone(tiny_model(cell, **over), TOKENS)
    logits, _ = run_alone(on_device(tiny_model(cell, **over)), TOKENS)
    assert_close(logits, expected, NARROW_TOLERANCE)
    assert not torch.equal(logits, expected)


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_quantised_matrices_serve_as_their_dequantised_values(cell: str, quantization: str) -> None:
    model = tiny_quantized_model(cell, FORMATS[quantization])
    expected, _ = run_alone(float_twin(model).pack(), TOKENS)
    served = on_device(model)
    assert_close(run_alone(served, TOKENS)[0], expected)
    assert served.weight_bytes == sum(matrix.nbytes for _, matrix in model.quantized_matrices())


@pytest.mark.parametrize("block", [1, 32 * 7, 32 * 265])
def test_how_much_is_dequantised_at_a_time_changes_nothing(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_device(tiny_quantized_model("gru"))
    expected, _ = run_alone(model, TOKENS[:9])
    monkeypatch.setattr(matrix, "BLOCK_WEIGHTS", block)
    assert_close(run_alone(model, TOKENS[:9])[0], expected)


@every_variant
def test_head_of_a_slot_gives_the_logits(variant: str) -> None:
    _, model = pair(variant)
    logits, final = run_alone(model, TOKENS)
    state = model.new_state(2)
    state.restore(1, final)
    assert_close(model.head(state, [1]), logits[-1:])


def test_batch_of_padding_alone_touches_nothing_and_has_logits_of_zero() -> None:
    _, model = pair("lstm")
    state = poisoned(model, 2)
    before = [state.snapshot(slot) for slot in range(2)]
    logits = feed(model, state, [Chunk(-1, [1, 2]), Chunk(-1, [3], fresh=True)])
    assert [state.snapshot(slot) for slot in range(2)] == before
    assert not torch.cat(logits).any()


def test_choice_of_solver_is_told_all_channels_and_the_longest_sequence() -> None:
    solvers = TorchNewton()
    model = on_device(tiny_model(), solvers)
    feed(model, poisoned(model, 3), [Chunk(0, [1] * 5, True), Chunk(1, [2], True), Chunk(-1, [3] * 2, True)])
    assert solvers.asked == [(3 * 32, 5)]
    report = model.take_newton_report()
    assert report is not None
    assert 0 < report.iterations <= 8
    assert report.residual <= 1e-6
    assert report.fallbacks == 0
    assert model.take_newton_report() is None


def test_time_of_every_stage_is_added() -> None:
    _, model = pair("gru")
    seconds = torch.zeros(len(STEP_STAGES), dtype=torch.float64)
    one = torch.tensor([0, 1], dtype=torch.int32)
    model(torch.tensor([5]), one, one[:1], model.new_state(1), stage_seconds=seconds)
    assert (seconds > 0).all()
    with pytest.raises(ValueError, match="stage_seconds"):
        model(torch.tensor([5]), one, one[:1], model.new_state(1), stage_seconds=seconds[1:])


def test_weights_are_shared_not_copied_and_keep_their_names() -> None:
    model = tiny_model()
    before = dict(model.weights())
    memory = {tensor.data_ptr() for tensor in before.values() if tensor.dim() > 1}
    after = dict(on_device(model).weights())
    assert after.keys() == before.keys()
    assert {tensor.data_ptr() for tensor in after.values() if tensor.dim() > 1} == memory
    matrices = [tensor for name, tensor in after.items() if tensor.dim() > 1 and "conv" not in name]
    recurrent = [tensor for name, tensor in after.items() if name.endswith(("cell.A", "cell.b"))]
    assert model.weight_bytes == sum(t.nbytes for t in matrices) - sum(t.nbytes for t in recurrent)


def test_state_of_another_activation_dtype_is_refused_in_words() -> None:
    state = RecurrentState(state_parts(tiny_config(activation_dtype="bfloat16")), 1)
    with pytest.raises(ValueError, match=r"activations in bfloat16.*here they are float32"):
        feed(tiny_model(), state, [Chunk(0, [1])])
