"""The one reader of a checkpoint's files: regular files of bounded size, inside the checkpoint's own tree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pararnn_core.checkpoint import checkpoint_info
from pararnn_core.checkpoint.checkpoint_text import TEXT_FILES, CheckpointText
from pararnn_core.storage.untrusted_file import CheckpointError, open_regular_file, read_small_file
from tests.fixtures import tiny_checkpoint

FILES = ("config.json", "model.safetensors", *(name for name in TEXT_FILES if "." in name))


def as_link_out(path: Path) -> None:
    secret = path.parents[1] / "keys"
    secret.write_text("alice:sk-secret")
    path.symlink_to(secret)


def as_link_in_two_steps(path: Path) -> None:
    as_link_out(path.parent / "step")
    path.symlink_to("step")


def as_directory_link(path: Path) -> None:
    (path.parents[1] / "outside").mkdir()
    (path.parents[1] / "outside" / "keys").write_text("alice:sk-secret")
    (path.parent / "folder").symlink_to(path.parents[1] / "outside")
    path.symlink_to("folder/keys")


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_huge_file(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def as_loop(path: Path) -> None:
    path.symlink_to(path)


def as_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def as_folder(path: Path) -> None:
    path.mkdir()


HOSTILE: tuple[Callable[[Path], None], ...] = (
    as_link_out,
    as_link_in_two_steps,
    as_directory_link,
    as_device,
    as_huge_file,
    as_loop,
    as_dangling_link,
    as_folder,
    os.mkfifo,
)


def read_all(folder: Path) -> None:
    checkpoint_info(folder)
    CheckpointText(folder).files()
    CheckpointText(folder).chat_templates()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_every_file_of_a_checkpoint_is_refused_unless_it_is_a_small_file_of_its_own(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    for number, name in enumerate(FILES):
        folder = tiny_checkpoint(tmp_path / str(number) / "model")
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        with pytest.raises(CheckpointError) as refused:
            read_all(folder)
        assert name in str(refused.value)
        assert "sk-secret" not in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_folder_of_templates_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.jinja").write_text("secret")
    (folder / "additional_chat_templates").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="leads out"):
        CheckpointText(folder).chat_templates()


def hub_cache(folder: Path, cache: Path, shared: bool) -> Path:
    """Make a repository of the hub's cache. shared: its blobs are links to blobs of all repositories."""
    repository = cache / "models--org--name"
    snapshot, blobs = repository / "snapshots" / "1f0c", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        digest = f"{number:064x}"
        if shared:
            (cache / "blobs" / digest[:2]).mkdir(parents=True, exist_ok=True)
            file.rename(cache / "blobs" / digest[:2] / digest)
            (blobs / digest).symlink_to(f"../../blobs/{digest[:2]}/{digest}")
        else:
            file.rename(blobs / digest)
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    return snapshot


@pytest.mark.parametrize("shared", [False, True])
def test_links_of_the_hubs_cache_are_followed(shared: bool, tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    expected = CheckpointText(folder).files()
    snapshot = hub_cache(folder, tmp_path / "hub", shared)
    assert checkpoint_info(snapshot).has_chat_template
    assert CheckpointText(snapshot).files() == expected
    assert CheckpointText(tmp_path / "hub" / "models--org--name" / "snapshots" / "1f0c").files() == expected


def test_a_snapshot_of_the_hub_may_not_link_elsewhere(tmp_path: Path) -> None:
    snapshot = hub_cache(tiny_checkpoint(tmp_path / "model"), tmp_path / "hub", shared=False)
    (tmp_path / "hub" / "token").write_text("hf_secret")
    (snapshot / "chat_template.jinja").symlink_to("../../../token")
    with pytest.raises(CheckpointError, match="leads out"):
        CheckpointText(snapshot).chat_templates()


def test_links_inside_the_directory_and_a_link_to_it_are_followed(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    (folder / "..data").mkdir()
    (folder / "tokenizer.json").rename(folder / "..data" / "tokenizer.json")
    (folder / "tokenizer.json").symlink_to("..data/tokenizer.json")
    (tmp_path / "link").symlink_to(folder)
    read_all(folder)
    read_all(tmp_path / "link")


def test_a_file_that_a_person_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert read_small_file(tmp_path / "b", 3, within=None) == b"abc"
    with pytest.raises(CheckpointError, match="larger than 2 bytes"):
        read_small_file(tmp_path / "b", 2, within=None)


def test_a_refused_file_is_not_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "missing", "."):
        with pytest.raises(CheckpointError):
            open_regular_file(tmp_path / name, within=tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
