"""Without the library the package still imports, says so, and tells what to do."""

from pathlib import Path

import pytest

from pararnn_core.ops.library import NativeLibraryMissing, is_available, native


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARARNN_LIBRARY", str(tmp_path / "absent.so"))


@pytest.mark.usefixtures("no_library")
def test_absent_library_is_reported() -> None:
    assert is_available.__wrapped__() is False
    with pytest.raises(NativeLibraryMissing, match=r"absent\.so.*pip install --no-build-isolation"):
        native.__wrapped__()


def test_broken_library_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv("PARARNN_LIBRARY", str(broken))
    with pytest.raises(OSError, match=r"broken\.so"):
        native.__wrapped__()
