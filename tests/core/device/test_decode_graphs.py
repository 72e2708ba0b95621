"""Decodes as CUDA graphs: their choice, their padding, and failures of the capture."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pararnn_core.device.arguments import StepArguments
from pararnn_core.device.decode_plan import DecodePlanner
from pararnn_core.device.graphs import BUCKETS, CudaCapturer, bucket_of, is_decode
from pararnn_core.device.plan import plan_step
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.state import PAD_SLOT_ID, RecurrentState
from tests.core.batches import poisoned
from tests.core.device.models import FakeCapturer, on_device, with_graphs
from tests.fixtures import tiny_model


def decode_arguments(slots: Sequence[int]) -> StepArguments:
    count = len(slots)
    return StepArguments(
        np.arange(count) + 5,
        np.arange(count + 1, dtype=np.int32),
        np.array(slots, np.int32),
        np.zeros(count, np.bool_),
        np.arange(count),
    )


def decode(
    model: ParaRNNForCausalLM, state: RecurrentState, tokens: Sequence[int], slots: Sequence[int]
) -> torch.Tensor:
    bounds = torch.arange(len(tokens) + 1, dtype=torch.int32)
    return model(torch.tensor(tokens), bounds, torch.tensor(slots, dtype=torch.int32), state)


def captured_model(num_slots: int, **over: bool) -> tuple[ParaRNNForCausalLM, RecurrentState, FakeCapturer]:
    capturer = FakeCapturer(**over)
    model = with_graphs(tiny_model("lstm"), capturer)
    state = model.new_state(num_slots)
    model.capture_decodes(state)
    return model, state, capturer


def test_bucket_holds_the_step_and_is_less_than_twice_as_large() -> None:
    for count in range(1, BUCKETS[-1] + 1):
        bucket = bucket_of(count)
        assert bucket is not None
        assert count <= bucket < 2 * count


def test_step_beyond_all_buckets_has_none() -> None:
    assert bucket_of(BUCKETS[-1] + 1) is None
    assert bucket_of(0) is None


def filled_up(decode: StepArguments, count: int) -> StepArguments:
    """Return the step padded with skipped sequences."""
    missing = count - len(decode.slots)
    return StepArguments(
        np.pad(decode.tokens, (0, missing)),
        np.arange(count + 1, dtype=np.int32),
        np.pad(decode.slots, (0, missing), constant_values=PAD_SLOT_ID),
        np.pad(decode.has_initial_state, (0, missing), constant_values=True),
        np.arange(count),
    )


@pytest.mark.parametrize("slots", [[0], [7], [5, 2, 9], [-1, 3], [4, -1, -1, 0, 1], [-1], [-1, -1, -1]])
def test_plan_of_a_decode_is_the_plan_of_the_step_filled_up(slots: list[int]) -> None:
    planner, decode = DecodePlanner(34), decode_arguments(slots)
    decode.has_initial_state[::2] = True
    for count in (len(slots), 8, 5, 8):
        plan, expected = planner.plan(decode, count), plan_step(filled_up(decode, count), 34)
        if plan is None or expected is None:
            assert plan is expected is None
            continue
        for name, array in plan._asdict().items():
            wanted = getattr(expected, name)
            assert (array.dtype, array.tolist()) == (wanted.dtype, wanted.tolist()), name


def test_only_one_token_a_sequence_with_all_logits_in_order_is_a_decode() -> None:
    step = decode_arguments([3, 0])
    assert is_decode(step)
    assert not is_decode(step._replace(logits_indices=np.array([1, 0])))
    assert not is_decode(step._replace(logits_indices=np.array([0])))
    assert not is_decode(step._replace(tokens=np.arange(3), cu_seqlens=np.array([0, 1, 3], np.int32)))


def test_replayed_decodes_equal_those_without_graphs() -> None:
    plain = on_device(tiny_model("lstm"))
    model, state, capturer = captured_model(5)
    expected = plain.new_state(5)
    for tokens, slots in (
        ([1, 2, 3], [4, 0, 2]),
        ([9, 8, 7, 6], [0, 1, 2, 3]),
        ([5, 5, 5], [2, -1, 0]),
        ([8], [3]),
        ([9], [3]),
        ([1, 2, 3], [0, 1, 4]),
    ):
        wanted, logits = decode(plain, expected, tokens, slots), decode(model, state, tokens, slots)
        used = [row for row, slot in enumerate(slots) if slot >= 0]
        torch.testing.assert_close(logits[used], wanted[used], rtol=0, atol=1e-5)
        assert len(logits) == len(tokens)
    for name in ("cell", "conv", "last_hidden"):
        torch.testing.assert_close(state[name], expected[name], rtol=0, atol=1e-5)
    assert torch.equal(state.seen, expected.seen)
    # Those of 8, 4, 2 and 1 were recorded before.
    assert (capturer.captures, capturer.replays) == (4, 6)


@pytest.mark.parametrize(("num_slots", "graphs"), [(1, 1), (2, 2), (3, 3), (9, 5), (600, 16)])
def test_all_graphs_of_a_pool_are_recorded_before_the_first_step(num_slots: int, graphs: int) -> None:
    model, state, capturer = captured_model(num_slots)
    assert capturer.captures == graphs
    for count in range(1, min(num_slots, 9) + 1):
        decode(model, state, [1] * count, range(count))
    assert capturer.captures == graphs


def test_recording_leaves_the_states_of_the_pool_as_they_are() -> None:
    capturer = FakeCapturer()
    model = with_graphs(tiny_model("lstm"), capturer)
    state = model.new_state(3)
    decode(model, state, [1, 2, 3], [2, 0, 1])
    before = [state.snapshot(slot) for slot in range(3)]
    model.capture_decodes(state)
    assert capturer.captures == 3
    assert [state.snapshot(slot) for slot in range(3)] == before


def test_logits_of_a_step_are_not_those_of_the_next() -> None:
    model, state, _ = captured_model(1)
    decode(model, state, [1], [0])
    second = decode(model, state, [2], [0])
    kept = second.clone()
    decode(model, state, [3], [0])
    assert torch.equal(second, kept)


def test_prefills_other_pools_and_skipped_steps_use_no_graph() -> None:
    model, state, capturer = captured_model(2)
    other = poisoned(model, 2)
    decode(model, other, [1], [0])
    model(torch.tensor([1, 2]), torch.tensor([0, 2], dtype=torch.int32), torch.zeros(1).int(), state)
    assert not decode(model, state, [1], [-1]).any()
    assert capturer.replays == 0


def test_bucket_that_cannot_be_captured_runs_without_a_graph_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = on_device(tiny_model("lstm"))
    expected = plain.new_state(3)
    with caplog.at_level(logging.WARNING):
        model, state, _ = captured_model(3, refuses=True)
        for token in range(4):
            torch.testing.assert_close(
                decode(model, state, [token] * 3, [2, 0, 1]),
                decode(plain, expected, [token] * 3, [2, 0, 1]),
                rtol=0,
                atol=1e-5,
            )
    assert caplog.messages == [
        f"decodes of up to {bucket} sequences run without a CUDA graph: "
        "operation not permitted when stream is capturing"
        for bucket in (4, 2, 1)
    ]


class FakeCuda:
    """Torch's streams, devices and captures: which are current, and where work is recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current, self.stream = 0, "stream of the engine"
        self.fails_at_the_end = False
        for name in ("device", "graph", "current_stream", "set_stream", "Stream"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(pool=lambda: 7, replay=None))

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index
        try:
            yield
        finally:
            self.current = before

    def Stream(self, device: torch.device) -> str:
        return f"stream of a capture on {device}"

    def current_stream(self, device: torch.device) -> str:
        assert device.index == self.current
        return self.stream

    def set_stream(self, stream: str) -> None:
        self.stream = stream

    @contextmanager
    def graph(self, graph: object, pool: object, stream: str, capture_error_mode: str) -> Iterator[None]:
        # As torch does it: the stream of before comes back only after the capture has ended well.
        before, self.stream = self.stream, stream
        yield
        if self.fails_at_the_end:
            raise RuntimeError("capture invalidated")
        self.stream = before


@pytest.mark.parametrize("index", [0, 1])
def test_work_is_recorded_on_a_stream_of_its_own_device(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, seen = FakeCuda(monkeypatch), []
    capturer = CudaCapturer(torch.device("cuda", index))
    for _ in range(2):
        capturer.capture(lambda: seen.append((cuda.current, cuda.stream)) or torch.empty(0))
    assert seen == [(index, f"stream of a capture on cuda:{index}")] * 2
    assert (cuda.current, cuda.stream) == (0, "stream of the engine")


@pytest.mark.parametrize("at_the_end", [True, False])
def test_failed_capture_leaves_the_thread_on_its_own_stream(
    at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda(monkeypatch)
    cuda.fails_at_the_end = at_the_end

    def work() -> torch.Tensor:
        if not at_the_end:
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.empty(0)

    with pytest.raises(RuntimeError, match=r"capture invalidated|not permitted"):
        CudaCapturer(torch.device("cuda", 1)).capture(work)
    assert cuda.stream == "stream of the engine"
