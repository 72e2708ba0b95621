"""The package without its library: it can be imported, and its error says what to do."""

import hashlib
from pathlib import Path

import pytest
import torch

from pararnn_core.ops.build import build_tag
from pararnn_core.ops.library import (
    CUDA_LIBRARY_NAME,
    NativeLibraryMissing,
    has_cuda_kernels,
    library_path,
    native,
)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARARNN_LIBRARY", str(tmp_path / "absent.so"))


@pytest.mark.usefixtures("no_library")
def test_absent_library_is_reported() -> None:
    assert library_path() is None
    with pytest.raises(NativeLibraryMissing, match=r"absent\.so.*pip install --no-build-isolation"):
        native.__wrapped__()


def test_broken_library_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv("PARARNN_LIBRARY", str(broken))
    with pytest.raises(OSError, match=r"broken\.so"):
        native.__wrapped__()


@pytest.mark.parametrize(
    ("cuda", "built", "there"), [("13.0", True, True), (None, True, False), ("13.0", False, False)]
)
def test_cuda_kernels_are_there_where_they_were_built_and_torch_has_cuda(
    cuda: str | None, built: bool, there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("cpu.so", *([CUDA_LIBRARY_NAME] if built else [])):
        (tmp_path / name).write_bytes(b"a library")
    monkeypatch.setenv("PARARNN_LIBRARY", str(tmp_path / "cpu.so"))
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert has_cuda_kernels.__wrapped__() is there


def test_tag_of_a_gpu_names_kernels_torch_and_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("cpu.so", CUDA_LIBRARY_NAME):
        (tmp_path / name).write_text(name)
    monkeypatch.setenv("PARARNN_LIBRARY", str(tmp_path / "cpu.so"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    digest, rest = build_tag.__wrapped__("cuda").split("-", 1)
    assert rest == f"{torch.__version__}-NVIDIA_H100_80GB_HBM3"
    assert digest == hashlib.sha256(CUDA_LIBRARY_NAME.encode()).hexdigest()[:12]
