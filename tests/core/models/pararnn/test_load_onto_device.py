"""Loading onto a device, up to the device's own work. Torch's meta device takes its place."""

from pathlib import Path

import pytest
import torch

from pararnn_core.checkpoint import CheckpointError, checkpoint, checkpoint_info, load_checkpoint
from pararnn_core.ops.devices import DeviceUnavailable
from tests.fixtures import tiny_checkpoint
from tests.quantized_fixtures import tiny_quantized_checkpoint


def device_with(free: int, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    where = torch.device("meta")
    monkeypatch.setattr(checkpoint, "usable_device", lambda device: where)
    monkeypatch.setattr(checkpoint, "free_bytes", lambda device: free)
    return where


def test_quantised_matrices_stay_quantised_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_quantized_checkpoint(tmp_path / "model", "lstm")
    where = device_with(1 << 30, monkeypatch)
    model = load_checkpoint(path, "cuda", pack=False)
    matrices = dict(model.quantized_matrices())
    assert len(matrices) == 2 * 6 + 2
    assert {m.qweight.device for m in matrices.values()} == {where}
    assert {m.scales.device for m in matrices.values()} == {where}
    assert {p.device for p in model.parameters()} == {where}
    assert model.device == where


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_weights_that_do_not_fit_are_refused_before_any_is_read(
    dtype: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_checkpoint(tmp_path / "model")
    needed = checkpoint_info(path).weight_bytes // (2 if dtype else 1)
    read: list[int] = []
    device_with(needed - 1, monkeypatch)
    with pytest.raises(CheckpointError, match=r"its weights need .* KiB of the memory of meta, and .* free"):
        load_checkpoint(path, "cuda", dtype, pack=False, progress=lambda done, _: read.append(done))
    assert read == []
    device_with(needed, monkeypatch)
    load_checkpoint(path, "cuda", dtype, pack=False, progress=lambda done, _: read.append(done))
    assert read


def test_memory_that_others_took_meanwhile_is_the_same_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    path = tiny_checkpoint(tmp_path / "model")
    device_with(1 << 30, monkeypatch)
    monkeypatch.setattr(checkpoint, "_prepared", out_of_memory)
    with pytest.raises(CheckpointError, match="its weights need"):
        load_checkpoint(path, "cuda", pack=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_device_that_is_not_there_is_refused_before_the_checkpoint_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="device must be 'cpu' here, got 'cuda'"):
        load_checkpoint(tmp_path / "nothing", "cuda")
