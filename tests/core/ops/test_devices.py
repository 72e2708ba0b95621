import time
from contextlib import nullcontext

import pytest
import torch

from pararnn_core.ops.devices import seconds_on, usable_device


def test_cpu_is_usable() -> None:
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["meta", "tpu", "", "cuda:-2", "mps"])
def test_other_devices_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"device must be 'cpu' or 'cuda', got '{name}'"):
        usable_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"device must be 'cpu' here, got '{name}': .*CUDA"):
        usable_device(name)


@pytest.mark.parametrize(
    ("capability", "refused"),
    [((7, 0), True), ((7, 5), True), ((8, 0), False), ((8, 9), False), ((12, 0), False)],
)
def test_gpu_that_no_kernel_is_built_for_is_refused_in_one_line(
    capability: tuple[int, int], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    if not refused:
        assert usable_device("cuda:1") == torch.device("cuda", 1)
        return
    has = "{}.{}".format(*capability)
    with pytest.raises(
        ValueError, match=f"capability 8.0 or more .*: cuda:1, Some GPU, has {has}; use"
    ) as raised:
        usable_device("cuda:1")
    assert "\n" not in str(raised.value)


def test_time_on_a_cpu_is_that_of_the_work() -> None:
    assert 0.02 <= seconds_on(torch.device("cpu"), lambda: time.sleep(0.02)) < 5


def test_time_on_a_gpu_is_between_events_around_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("record")

        def synchronize(self) -> None:
            done.append("wait")

        def elapsed_time(self, ended: "Event") -> float:
            assert ended is not self
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    assert seconds_on(torch.device("cuda"), lambda: done.append("work")) == 1.5
    assert done == ["record", "work", "record", "wait"]
