from pathlib import Path

import pytest

from pararnn_core.storage.atomic_directory import replacing


def content(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): p.read_text() for p in directory.rglob("*") if p.is_file()}


def old_directory(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    (target / "kept").mkdir(parents=True)
    (target / "kept" / "deep.txt").write_text("deep")
    (target / "gone.txt").write_text("gone")
    (target / "link").symlink_to("nowhere")
    return target


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "target"
    with replacing(target, keep=lambda name: True) as fresh:
        (fresh / "a.txt").write_text("a")
        assert not target.exists()
    assert content(target) == {"a.txt": "a"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_the_old_content_goes_but_for_what_is_kept(tmp_path: Path) -> None:
    target = old_directory(tmp_path)
    with replacing(target, keep=lambda name: name != "gone.txt") as fresh:
        (fresh / "a.txt").write_text("a")
        assert content(target) == {"kept/deep.txt": "deep", "gone.txt": "gone"}
    assert content(target) == {"kept/deep.txt": "deep", "a.txt": "a"}
    assert (target / "link").is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_an_error_inside_leaves_the_old_directory(tmp_path: Path) -> None:
    target = old_directory(tmp_path)
    with pytest.raises(KeyboardInterrupt), replacing(target, keep=lambda name: True) as fresh:
        (fresh / "a.txt").write_text("a")
        raise KeyboardInterrupt
    assert content(target) == {"kept/deep.txt": "deep", "gone.txt": "gone"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_old_directory_comes_back_when_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_directory(tmp_path)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), replacing(target, keep=lambda name: False):
        pass
    assert content(target) == {"kept/deep.txt": "deep", "gone.txt": "gone"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
