"""Where the time of a prefill goes, by kind of native operation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

KINDS: dict[str, tuple[str, ...]] = {
    "matrix products": ("linear",),
    "recurrence": ("recurrence_",),
    "convolution": ("causal_conv1d_",),
    "norms, gates, sums": ("rms_norm", "gated_rms_norm", "silu_mul", "add_scaled"),
}
_REPETITIONS = 3
NOT_MATRIX = tuple(kind for kind in KINDS if kind != "matrix products")


class OperatorTimes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base has no types
    """While entered, adds up the wall time in seconds of each operator of torch, by its qualified name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the operator and takes its time."""
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds[func._schema.name] += time.perf_counter() - start
        return result


def breakdown(repeat: Callable[[], float]) -> dict[str, float]:
    """Share of a repetition's wall time per kind, and `other` (Python, embedding, copies); they add up to 1.

    The native calls follow one another, so their times add up; each uses all threads inside.
    """
    with OperatorTimes() as times:
        repeat()  # the first intercepted call of each operator is slow
        times.seconds.clear()
        whole = sum(repeat() for _ in range(_REPETITIONS))
    shares = {
        kind: sum(times.seconds[f"pararnn::{name}"] for name in names) / whole
        for kind, names in KINDS.items()
    }
    return {**shares, "other": 1.0 - sum(shares.values())}
