import time
from contextlib import nullcontext

import pytest
import torch

from pararnn_core.devices import seconds_on, usable_device


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
