import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.state_layout import state_bytes, state_parts
from pararnn_core.state import RecurrentState
from tests.core.batches import Chunk, feed, poisoned, run_alone
from tests.core.golden_models import read_golden
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import TINY_VOCAB_SIZE, tiny_config, tiny_model

TOKENS = [5, 200, 17, 17, 96, 3, 250, 64, 31]
GOLDEN = Path(__file__).parents[3] / "golden"


VARIANTS = [
    {},
    {"gate_order": "norm_then_gate", "dtype": "bfloat16"},
    {"conv_activation": "none", "conv_kernel": 2},
    {"residual_scale": "none", "tie_embeddings": True},
    {"mlp_residual": False, "gate_order": "norm_then_gate"},
    {"hidden_size": 15, "num_heads": 3, "intermediate_size": 37, "norm_eps": 1e-2},
    {"conv_kernel": 8},
    {"activation_dtype": "bfloat16"},
]


def int32(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize("name", ["tiny_gru", "tiny_lstm"])
def test_golden_logits_are_reproduced(name: str) -> None:
    model, tokens, expected = read_golden(GOLDEN / f"{name}.safetensors")
    logits, _ = run_alone(model, tokens.tolist())
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.logits(tokens[None])[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("over", VARIANTS, ids=str)
def test_forward_agrees_with_the_differentiable_path(over: dict[str, Any], cell: str) -> None:
    model = tiny_model(cell, **over)
    tokens = [13 * i % TINY_VOCAB_SIZE for i in range(40)]
    served, _ = run_alone(model, tokens)
    # The last bit of a sum may decide to which bfloat16 it is rounded.
    tolerance = 5e-2 if "activation_dtype" in over else 1e-4
    torch.testing.assert_close(served, model.logits(torch.tensor([tokens]))[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_float64_logits_are_the_step_by_step_ones(cell: str) -> None:
    model = tiny_model(cell).to(torch.float64)
    expected = run_step_by_step(model, TOKENS, torch.float64).logits
    for mode in ("auto", "sequential", "parallel"):
        torch.testing.assert_close(
            model.logits(torch.tensor([TOKENS]), mode)[0], expected, rtol=0, atol=1e-11
        )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_parameter_has_a_gradient(cell: str, tied: bool) -> None:
    model = tiny_model(cell, tie_embeddings=tied)
    model.logits(torch.tensor([TOKENS, TOKENS[::-1]])).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_fresh_model_predicts_all_tokens_alike() -> None:
    torch.manual_seed(0)
    model = ParaRNNForCausalLM(tiny_config(hidden_size=64, num_heads=4))
    log_probs = model.logits(torch.tensor([TOKENS])).log_softmax(-1)
    assert log_probs.exp().max() < 3 / TINY_VOCAB_SIZE


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_packed_and_unpacked_model_give_the_same_bits(cell: str) -> None:
    for dtype in ("float32", "bfloat16"):
        logits, final = run_alone(tiny_model(cell, dtype=dtype), TOKENS)
        packed_logits, packed_final = run_alone(tiny_model(cell, dtype=dtype).pack().pack(), TOKENS)
        assert torch.equal(packed_logits, logits)
        assert packed_final == final


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_model_still_has_its_exact_weights_but_no_row_major_matrix(dtype: str) -> None:
    model = tiny_model("lstm", dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.weights()}
    assert before.keys() == model.state_dict().keys()
    after = dict(model.pack().weights())
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor), name
    matrices = [name for name, p in model.named_parameters() if p.dim() == 2 and p.numel() > 4 * 32]
    assert matrices == []


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.logits(torch.tensor([TOKENS])),
        lambda model: model.state_dict(),
        lambda model: model.to(torch.float64),
    ],
    ids=["logits", "state_dict", "to"],
)
def test_packed_model_says_what_it_cannot_do(call: Callable[[ParaRNNForCausalLM], object]) -> None:
    with pytest.raises(RuntimeError, match="pack=False"):
        call(tiny_model().pack())


def test_unpacked_model_serves_its_present_weights() -> None:
    model = tiny_model()
    stale, _ = run_alone(model, TOKENS)
    with torch.no_grad():
        model.blocks[1].mlp.up_proj.weight.mul_(2)
    fresh, _ = run_alone(model, TOKENS)
    assert not torch.equal(fresh, stale)
    model.load_state_dict(tiny_model().state_dict())
    assert torch.equal(run_alone(model, TOKENS)[0], stale)


def test_unpacked_model_serves_the_dtype_that_it_was_cast_to() -> None:
    model = tiny_model()
    wide, _ = run_alone(model, TOKENS)
    narrow, _ = run_alone(model.to(torch.bfloat16), TOKENS)
    assert not torch.equal(narrow, wide)
    assert torch.equal(narrow, run_alone(tiny_model().to(torch.bfloat16), TOKENS)[0])
    with pytest.raises(ValueError, match="float64"):
        run_alone(model.to(torch.float64), TOKENS)


def test_float64_model_refuses_to_serve_and_says_what_takes_it() -> None:
    with pytest.raises(ValueError, match=r"float32 or bfloat16.*float64.*logits"):
        run_alone(tiny_model().to(torch.float64), TOKENS)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_logits_are_those_of_the_rows_asked_for(cell: str) -> None:
    model = tiny_model(cell).pack()
    state = poisoned(model, 2)
    rows = torch.cat(feed(model, state, [Chunk(1, TOKENS[:4], fresh=True), Chunk(0, TOKENS, fresh=True)]))
    fresh = torch.tensor([False, False])

    def logits(indices: Tensor | None) -> Tensor:
        bounds = int32(0, 4, 13)
        result: Tensor = model(torch.tensor(TOKENS[:4] + TOKENS), bounds, int32(1, 0), state, fresh, indices)
        return result

    assert torch.equal(logits(None), rows[[3, 12]])
    assert torch.equal(logits(int32(12, 0, 12)), rows[[12, 0, 12]])
    assert logits(torch.tensor([], dtype=torch.int64)).shape == (0, TINY_VOCAB_SIZE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_head_of_slots_is_bit_equal_to_the_logits(dtype: str) -> None:
    model = tiny_model(dtype=dtype).pack()
    state = poisoned(model, 3)
    fresh = torch.tensor([False, False])
    logits = model(torch.tensor(TOKENS), int32(0, 4, 9), int32(2, 0), state, fresh)
    assert torch.equal(model.head(state, [2, 0]), logits)
    assert torch.equal(model.head(state, [0]), logits[1:])
    assert state["last_hidden"][1].isnan().all()


def test_head_refuses_the_pool_of_another_model() -> None:
    with pytest.raises(ValueError, match="state: of a model with other sizes"):
        tiny_model().head(tiny_model("lstm").new_state(1), [0])


def test_seen_bits_are_those_of_the_tokens_fed_since_the_start() -> None:
    model = tiny_model().pack()
    state = poisoned(model, 2)

    def seen(slot: int) -> list[int]:
        return [t for t in range(TINY_VOCAB_SIZE) if state.seen[slot, t // 8] >> (t % 8) & 1]

    feed(model, state, [Chunk(1, [4, 9, 4], fresh=True), Chunk(-1, [77])])
    feed(model, state, [Chunk(1, [264])])
    assert seen(1) == [4, 9, 264]
    feed(model, state, [Chunk(1, [8], fresh=True)])
    assert seen(1) == [8]
    assert state.seen[0].eq(0xFF).all()


def test_batch_of_padding_alone_touches_nothing() -> None:
    model = tiny_model("lstm").pack()
    state = poisoned(model, 2)
    before = [state.snapshot(slot) for slot in range(2)]
    feed(model, state, [Chunk(-1, [1, 2]), Chunk(-1, [3], fresh=True)])
    assert [state.snapshot(slot) for slot in range(2)] == before


def test_empty_batch_gives_no_logits() -> None:
    model = tiny_model().pack()
    logits = model(torch.tensor([], dtype=torch.int64), int32(0), int32(), model.new_state(1))
    assert logits.shape == (0, TINY_VOCAB_SIZE)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens", torch.tensor([1, 265, 3]), r"tokens: 265 is not in \[0, 265\)"),
        ("tokens", torch.tensor([1, -1, 3]), "tokens: -1 is not in"),
        ("tokens", torch.tensor([1.0, 2.0, 3.0]), "tokens: expected int64"),
        ("tokens", torch.tensor([[1, 2, 3]]), r"tokens: expected shape \(\*\)"),
        ("cu_seqlens", torch.tensor([0, 1, 3]), "cu_seqlens: expected int32, got a tensor that is int64"),
        ("cu_seqlens", int32(0, 3), r"slots: expected shape \(1\), got \(2\)"),
        ("cu_seqlens", int32(0, 1, 4), "cu_seqlens: must end at the number of tokens 3, got 4"),
        ("cu_seqlens", int32(1, 2, 3), "cu_seqlens: must start at 0, got 1"),
        ("cu_seqlens", int32(0, 4, 3), "cu_seqlens: must not fall"),
        ("cu_seqlens", int32(0, 3, 3), "cu_seqlens: must increase, but sequence 1"),
        ("slots", int32(1, 1), "slots: 1 stands twice"),
        ("slots", int32(0, 2), r"slots: 2 is not in \[0, 2\) nor -1"),
        ("slots", int32(0, -2), r"slots: -2 is not in \[0, 2\) nor -1"),
        ("slots", torch.tensor([0, 1]), "slots: expected int32"),
        ("has_initial_state", torch.tensor([True]), r"has_initial_state: expected shape \(2\), got \(1\)"),
        ("has_initial_state", int32(1, 0), "has_initial_state: expected bool"),
        ("logits_indices", torch.tensor([3]), r"logits_indices: 3 is not in \[0, 3\)"),
        ("logits_indices", torch.tensor([-1]), "logits_indices: -1 is not in"),
        ("logits_indices", torch.tensor([True, False, True]), "logits_indices: expected int64"),
        ("state", RecurrentState(state_parts(tiny_config("lstm")), 2), "state: of a model with other sizes"),
    ],
    ids=lambda value: "another model's" if isinstance(value, RecurrentState) else str(value),
)
def test_bad_argument_is_refused_by_name_before_any_state_is_touched(
    name: str, value: Any, message: str
) -> None:
    model = tiny_model().pack()
    state = poisoned(model, 2)
    before = [state.snapshot(slot) for slot in range(2)]
    arguments = {
        "tokens": torch.tensor([1, 2, 3]),
        "cu_seqlens": int32(0, 1, 3),
        "slots": int32(0, 1),
        "state": state,
        "has_initial_state": torch.tensor([False, False]),
        "logits_indices": None,
    }
    with pytest.raises(ValueError, match=message):
        model(**{**arguments, name: value})
    assert [state.snapshot(slot) for slot in range(2)] == before
    assert model(**arguments).isfinite().all()


def test_forward_asks_for_no_gradient_and_runs_in_every_mode_of_autograd() -> None:
    model = tiny_model()
    expected, _ = run_alone(model, TOKENS)
    assert not expected.requires_grad
    for context in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with context():
            assert torch.equal(run_alone(model, TOKENS)[0], expected)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_state_bytes_constant_in_length(cell: str) -> None:
    model = tiny_model(cell).pack()
    state = poisoned(model, 1)
    chunk = [7 * i % TINY_VOCAB_SIZE for i in range(500)]
    for i in range(6):
        feed(model, state, [Chunk(0, chunk, fresh=i == 0)])
        assert state.snapshot(0).nbytes == state_bytes(model.config)
        assert state.nbytes == state_bytes(model.config)


def test_working_memory_depends_on_the_chunk_only() -> None:
    model = tiny_model(hidden_size=64).pack()
    state = poisoned(model, 1)
    chunk = [7 * i % TINY_VOCAB_SIZE for i in range(256)]
    resident = []
    for i in range(300):
        feed(model, state, [Chunk(0, chunk, fresh=i == 0)])
        resident.append(_resident_bytes())
    assert max(resident) - max(resident[:30]) < 1 << 20


class _HeapInfo(ctypes.Structure):
    """mallinfo2 of glibc."""

    _fields_: ClassVar = [(f"field{i}", ctypes.c_size_t) for i in range(10)]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_forward_leaks_nothing() -> None:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _HeapInfo
    model = tiny_model().pack()
    state = poisoned(model, 1)

    def bytes_in_use_after(steps: int) -> int:
        for _ in range(steps):
            feed(model, state, [Chunk(0, [1], fresh=True)])
        gc.collect()
        return int(mallinfo2().field7)

    before = bytes_in_use_after(50)
    assert bytes_in_use_after(400) - before < 400 * 24


def _resident_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def test_initial_scale_of_the_residual_stream_does_not_grow_with_depth() -> None:
    torch.manual_seed(0)
    config = tiny_config(num_hidden_layers=12)
    model = ParaRNNForCausalLM(config)
    for block in model.blocks:
        for linear in (block.out_proj, block.mlp.down_proj):
            assert linear.weight.std().item() == pytest.approx(0.02 / math.sqrt(24), rel=0.2)
