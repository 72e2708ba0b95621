"""Decodes captured in CUDA graphs, and that nothing in a step waits for the device."""

import pytest
import torch

from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.sampling_params import SamplingParams
from tests.core.batches import Chunk
from tests.gpu.models import GRAPHED, VOCAB_SIZE, decode, on_gpu, poisoned_state, run_steps, tokens

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

PROMPTS = [[Chunk(slot, tokens(9, slot), True) for slot in range(3)]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_captured_decodes_equal_those_launched_one_by_one(cell: str, dtype: str) -> None:
    eager, graphed = on_gpu(cell, dtype=dtype), on_gpu(cell, dtype=dtype)
    expected, state = poisoned_state(eager), poisoned_state(graphed)
    graphed.capture_decodes(state)
    run_steps(eager, expected, PROMPTS)
    run_steps(graphed, state, PROMPTS)
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    for ids in GRAPHED * 2:
        result, wanted = decode(graphed, state, ids), decode(eager, expected, ids)
        torch.testing.assert_close(result, wanted, rtol=0, atol=tolerance)
    for name in ("cell", "conv", "last_hidden"):
        pools = (state[name], expected[name])
        torch.testing.assert_close(*pools, rtol=0, atol=tolerance, equal_nan=True)
    assert torch.equal(state.seen, expected.seen)


def test_a_decode_is_really_captured(caplog: pytest.LogCaptureFixture) -> None:
    model = on_gpu("gru")
    state = model.new_state(4)
    model.capture_decodes(state)
    replays = []
    original = torch.cuda.CUDAGraph.replay

    def replay(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(graph)
        original(graph)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda.CUDAGraph, "replay", replay)
        for _ in range(3):
            decode(model, state, [1, 2, 3])
    assert len(replays) == 3
    assert caplog.messages == []


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_decode_of_ids_that_only_the_device_knows_equals_one_of_known_ids(cell: str) -> None:
    knows, ahead = on_gpu(cell), on_gpu(cell)
    expected, state = poisoned_state(knows), poisoned_state(ahead)
    for model, pool in ((knows, expected), (ahead, state)):
        model.capture_decodes(pool)
        run_steps(model, pool, PROMPTS)
    for ids in ([3, 1, 4], [5, 9, 2], [6, 5, 3]):
        wanted = decode(knows, expected, ids)
        slots = torch.arange(len(ids), dtype=torch.int32)
        result = ahead.decode_ahead(torch.tensor(ids, device="cuda"), slots, state)
        torch.testing.assert_close(result, wanted, rtol=0, atol=1e-4)
    assert torch.equal(state.seen, expected.seen)


def test_a_step_ahead_with_its_draw_does_not_wait_for_the_device() -> None:
    model = on_gpu("gru")
    state, kept = model.new_state(4), model.new_state(4)
    model.capture_decodes(state)
    table = SamplingTable(4, VOCAB_SIZE, "cuda")
    rows, slots = torch.arange(3), torch.arange(3, dtype=torch.int32)
    ids = torch.tensor([1, 2, 3], device="cuda")

    def step(ids: torch.Tensor) -> torch.Tensor:
        kept.take(state, slots)
        return table.draw(model.decode_ahead(ids, slots, state), rows, slots, state.seen)

    for _ in range(2):
        ids = step(ids)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for slot in range(3):
            table.start(slot, SamplingParams(seed=slot, logit_bias={4: 1.0}))
        ids = step(ids)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert 0 <= int(ids.min()) <= int(ids.max()) < VOCAB_SIZE


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_step_waits_for_the_device(cell: str, captured: bool) -> None:
    model = on_gpu(cell)
    state = model.new_state(4)
    if captured:
        model.capture_decodes(state)
    decode(model, state, [1, 2, 3])
    decode(model, state, [1, 2, 3])
    torch.cuda.set_sync_debug_mode("error")
    try:
        decode(model, state, [4, 5, 6])
    finally:
        torch.cuda.set_sync_debug_mode("default")
