"""Decode steps as CUDA graphs: all launches of a step in one, so that small batches are not bound by them.

One graph for each number of sequences in BUCKETS. A step with fewer is filled up with sequences that are
skipped; one with more, or with anything else than one token a sequence, runs launch by launch.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pararnn_core.device.arguments import StepArguments
from pararnn_core.device.decode_plan import DecodePlanner
from pararnn_core.device.plan import StepInputs, StepPlan

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

Work = Callable[[StepInputs], Tensor]
"""A step whose plan is on the device; returns logits."""

logger = logging.getLogger(__name__)


class Captured(NamedTuple):
    """replay: does the work again, with what its inputs hold by then. output: where its result is."""

    replay: Callable[[], None]
    output: Tensor


class Capturer(Protocol):
    """What records work on a device."""

    def capture(self, work: Callable[[], Tensor]) -> Captured:
        """Records `work`, without doing it. RuntimeError for what cannot be recorded."""


class CudaCapturer:
    """CUDA graphs that share one pool of memory, as no two of them run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def capture(self, work: Callable[[], Tensor]) -> Captured:
        """As of Capturer. What `work` needs must be loaded: let it run once before."""
        with torch.cuda.device(self._device):
            # Torch's own choice is one stream for all graphs, on the device that was current for the first:
            # the work of another device would not be recorded.
            self._stream = self._stream or _new_stream(self._device)
            graph = torch.cuda.CUDAGraph()
            before = torch.cuda.current_stream(self._device)
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    output = work()
            finally:
                # Where a capture fails torch leaves the thread on the stream of the capture.
                torch.cuda.set_stream(before)
        self._pool = graph.pool()
        return Captured(graph.replay, output)


def _new_stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's


def bucket_of(count: int) -> int | None:
    """Sequences of the graph that takes so many; None if none does."""
    place = bisect_left(BUCKETS, count)
    return BUCKETS[place] if count > 0 and place < len(BUCKETS) else None


def is_decode(arguments: StepArguments) -> bool:
    """Whether every sequence has one token, and the logits of each are asked for in order."""
    count = len(arguments.slots)
    rows = arguments.logits_indices
    return len(arguments.tokens) == count == len(rows) and bool((rows == np.arange(count)).all())


class DecodeGraphs:
    """The graphs of one model and one state pool.

    `record` makes those of a pool before anybody waits. In a bucket without a graph the first step runs
    launch by launch and gives the result; then its graph is recorded. A bucket that cannot be recorded runs
    without one, and the log says so once.
    """

    def __init__(self, work: Work, planner: DecodePlanner, device: torch.device, capturer: Capturer) -> None:
        self._work = work
        self._planner = planner
        self._device = device
        self._capturer = capturer
        self._inputs: dict[int, Tensor] = {}
        self._captured: dict[int, Captured | None] = {}

    def record(self, num_slots: int) -> None:
        """Record the graphs of all steps of a pool of so many slots. Slot 0 is written to."""
        largest = bucket_of(min(num_slots, BUCKETS[-1])) or 0
        # The largest first: what the others need fits into its memory.
        for bucket in sorted((b for b in BUCKETS if b <= largest), reverse=True):
            # All sequences but the first are skipped, and those write where the first one does.
            one = StepArguments(
                tokens=np.zeros(1, np.int64),
                cu_seqlens=np.arange(2, dtype=np.int32),
                slots=np.zeros(1, np.int32),
                has_initial_state=np.zeros(1, np.bool_),
                logits_indices=np.zeros(1, np.int64),
            )
            plan = self._planner.plan(one, bucket)
            if plan is not None:
                self._run(bucket, plan)

    def takes(self, arguments: StepArguments) -> bool:
        """Whether there is a graph for this step, or will be."""
        return is_decode(arguments) and bucket_of(len(arguments.slots)) is not None

    def step(self, decode: StepArguments) -> Tensor | None:
        """A step that it takes. Logits (S, V), the caller's to keep; None if all sequences are skipped."""
        count = len(decode.slots)
        bucket = bucket_of(count) or count
        plan = self._planner.plan(decode, bucket)
        return None if plan is None else self._run(bucket, plan)[:count]

    def step_from(self, ids: Tensor, slots: Tensor) -> Tensor:
        """The same for ids (S,) int64 that are on the device and that the host does not know: one below 0
        stands for 0. slots: (S,) int32, on the host, all of the pool.
        """
        count = len(slots)
        rows = np.arange(count)
        decode = StepArguments(
            tokens=np.zeros(count, np.int64),
            cu_seqlens=np.arange(count + 1, dtype=np.int32),
            slots=slots.numpy(),
            has_initial_state=np.ones(count, np.bool_),
            logits_indices=rows,
        )
        bucket = bucket_of(count) or count
        plan = self._planner.plan(decode, bucket)
        if plan is None:
            raise ValueError("slots: expected one that is not skipped")
        return self._run(bucket, plan, ids)[:count]

    def _run(self, bucket: int, plan: StepPlan, ids: Tensor | None = None) -> Tensor:
        packed = plan.pack(pin=self._device.type == "cuda")
        is_first = bucket not in self._captured
        if is_first:
            self._inputs[bucket] = packed.to(self._device)
        else:
            self._inputs[bucket].copy_(packed, non_blocking=True)
        inputs = plan.inputs(self._inputs[bucket])
        if ids is not None:
            self._planner.feed(inputs, ids)
        if is_first:
            return self._first(bucket, inputs)
        captured = self._captured[bucket]
        if captured is None:
            return self._work(inputs)
        captured.replay()
        return captured.output.clone()

    def _first(self, bucket: int, inputs: StepInputs) -> Tensor:
        logits = self._work(inputs)
        try:
            self._captured[bucket] = self._capturer.capture(lambda: self._work(inputs))
        except RuntimeError as error:
            logger.warning("decodes of up to %d sequences run without a CUDA graph: %s", bucket, error)
            self._captured[bucket] = None
        return logits
