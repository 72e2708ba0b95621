"""Which devices a model can be on."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

KINDS = ("cpu", "cuda")
LEAST_CAPABILITY = (8, 0)
"""The least compute capability of a GPU: the kernels are built for sm_80 and later."""


class DeviceUnavailable(ValueError):
    """Not a device, or none that this machine has, or one that this build cannot use."""


def multiprocessors(device: torch.device) -> int:
    """Of a CUDA device."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def seconds_on(device: torch.device, work: Callable[[], object]) -> float:
    """From when the device begins with what `work` asks of it until it has done it; waits for that."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    with torch.cuda.device(device):
        began, ended = _event(), _event()
        began.record()
        work()
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, which nobody waits for; the same one on a CPU."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def usable_device(device: str | torch.device) -> torch.device:
    """With its index, if it has one. DeviceUnavailable if this machine has none such."""
    try:
        where = torch.device(device)
    except RuntimeError:
        where = torch.device("meta")
    if where.type not in KINDS:
        raise DeviceUnavailable(f"device must be 'cpu' or 'cuda', got {str(device)!r}")
    if where.type == "cpu":
        return where
    if not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "there is no CUDA device"
        raise DeviceUnavailable(f"device must be 'cpu' here, got {str(device)!r}: {why}")
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if where.index is None else where.index
    if index >= count:
        raise DeviceUnavailable(f"device must be below cuda:{count}, got {str(device)!r}")
    capability = torch.cuda.get_device_capability(index)
    if capability < LEAST_CAPABILITY:
        found = "{}.{}".format(*capability)
        raise DeviceUnavailable(
            f"device must have compute capability 8.0 or more (A100, RTX 30 and newer): cuda:{index}, "
            f"{torch.cuda.get_device_name(index)}, has {found}; use another GPU or 'cpu'"
        )
    return torch.device("cuda", index)
