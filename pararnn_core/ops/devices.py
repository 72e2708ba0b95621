"""Devices that a model can use."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

KINDS = ("cpu", "cuda")
LEAST_CAPABILITY = (8, 0)
"""Lowest compute capability of a GPU. The kernels are built for sm_80 and later."""


class DeviceUnavailable(ValueError):
    """Error for a device that does not exist, or that this machine or build does not have."""


def multiprocessors(device: torch.device) -> int:
    """Return the number of multiprocessors of a CUDA device."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def seconds_on(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds from the begin to the end of `work` on the device. Waits for the end."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    with torch.cuda.device(device):
        # A host clock would measure only the launches, because the device works asynchronously.
        began, ended = _event(), _event()
        began.record()
        work()
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor's copy on the device without waiting for it; the same tensor on a CPU."""
    # From memory that is not pinned the copy would make the host wait.
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device, a CUDA device with its index. Raises DeviceUnavailable if this machine has none."""
    try:
        where = torch.device(device)
    except RuntimeError:
        # A name that torch does not know gets the same error as a kind that cannot serve.
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
        raise DeviceUnavailable(f"device must be between cuda:0 and cuda:{count - 1}, got {str(device)!r}")
    capability = torch.cuda.get_device_capability(index)
    if capability < LEAST_CAPABILITY:
        found = "{}.{}".format(*capability)
        raise DeviceUnavailable(
            f"device must have compute capability 8.0 or more (A100, RTX 30 and newer): cuda:{index}, "
            f"{torch.cuda.get_device_name(index)}, has {found}; use another GPU or 'cpu'"
        )
    return torch.device("cuda", index)
