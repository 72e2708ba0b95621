"""Decode steps as CUDA graphs. A graph is one launch for a whole step, so launch time limits no small batch.

There is one graph for each number of sequences in BUCKETS. A step with fewer sequences is padded with skipped
ones. A step with more, or with several tokens in a sequence, runs without a graph.
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
"""A step whose plan is on the device. It returns logits."""

logger = logging.getLogger(__name__)


class Captured(NamedTuple):
    """A recorded step. replay: runs it again on the current contents of its inputs; output: its result."""

    replay: Callable[[], None]
    output: Tensor


class Capturer(Protocol):
    """A recorder of work on a device."""

    def capture(self, work: Callable[[], Tensor]) -> Captured:
        """Record `work` without running it. Raises RuntimeError if it cannot be recorded."""


class CudaCapturer:
    """Recorder of CUDA graphs. All share one memory pool, because no two of them run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def capture(self, work: Callable[[], Tensor]) -> Captured:
        """Record `work`. Run it once before, so that its kernels are loaded."""
        with torch.cuda.device(self._device):
            # Torch's default is one stream for all graphs, on the device of the first one. It would not
            # record the work of another device.
            self._stream = self._stream or _new_stream(self._device)
            graph = torch.cuda.CUDAGraph()
            before = torch.cuda.current_stream(self._device)
            try:
                # In torch's default mode an unsafe CUDA call of any other thread would fail the capture.
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    output = work()
            finally:
                # After a failed capture torch leaves the thread on the capture's stream.
                torch.cuda.set_stream(before)
        self._pool = graph.pool()
        return Captured(graph.replay, output)


def _new_stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's


def bucket_of(count: int) -> int | None:
    """Return the size of the smallest graph for `count` sequences; None if there is none."""
    place = bisect_left(BUCKETS, count)
    return BUCKETS[place] if count > 0 and place < len(BUCKETS) else None


def is_decode(arguments: StepArguments) -> bool:
    """Return True if every sequence has one token and the request is for all their logits in order."""
    count = len(arguments.slots)
    rows = arguments.logits_indices
    return len(arguments.tokens) == count == len(rows) and bool((rows == np.arange(count)).all())


class DecodeGraphs:
    """The graphs of one model and one state pool.

    `record` makes all graphs of a pool at start, so that no request waits for it. In a bucket without a graph
    the first step runs without one and returns its result; then the graph is recorded. A bucket that cannot
    be recorded keeps running without a graph, and the log says so once.
    """

    def __init__(self, work: Work, planner: DecodePlanner, device: torch.device, capturer: Capturer) -> None:
        self._work = work
        self._planner = planner
        self._device = device
        self._capturer = capturer
        self._inputs: dict[int, Tensor] = {}
        self._captured: dict[int, Captured | None] = {}

    def record(self, num_slots: int) -> None:
        """Record the graphs for all steps of a pool with num_slots slots. It overwrites slot 0."""
        largest = bucket_of(min(num_slots, BUCKETS[-1])) or 0
        # The largest comes first, because the others then fit into its memory.
        for bucket in sorted((b for b in BUCKETS if b <= largest), reverse=True):
            # All sequences but the first are skipped, and a skipped one writes where the first one does.
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
        """Return True if this step has a graph or will get one."""
        return is_decode(arguments) and bucket_of(len(arguments.slots)) is not None

    def step(self, decode: StepArguments) -> Tensor | None:
        """Run a step that `takes` accepts. Returns new logits (S, V); None if all sequences are skipped."""
        count = len(decode.slots)
        bucket = bucket_of(count) or count
        plan = self._planner.plan(decode, bucket)
        return None if plan is None else self._run(bucket, plan)[:count]

    def step_from(self, ids: Tensor, slots: Tensor) -> Tensor:
        """Run a decode whose ids the host does not know, and return logits (S, V).

        ids: (S,) int64 on the device; an id below 0 is taken as 0
        slots: (S,) int32 on the host, none skipped
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
            raise ValueError("slots: expected at least one that is not skipped")
        return self._run(bucket, plan, ids)[:count]

    def _run(self, bucket: int, plan: StepPlan, ids: Tensor | None = None) -> Tensor:
        packed = plan.pack(pin=self._device.type == "cuda")
        is_first = bucket not in self._captured
        if is_first:
            self._inputs[bucket] = packed.to(self._device)
        else:
            # A graph reads the addresses that it was recorded with, so the inputs keep their memory.
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
        # The next replay overwrites the output.
        return captured.output.clone()

    def _first(self, bucket: int, inputs: StepInputs) -> Tensor:
        logits = self._work(inputs)
        try:
            self._captured[bucket] = self._capturer.capture(lambda: self._work(inputs))
        except RuntimeError as error:
            logger.warning("decodes of up to %d sequences run without a CUDA graph: %s", bucket, error)
            self._captured[bucket] = None
        return logits
