from __future__ import annotations

import json
from pathlib import Path

import pytest
from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner, Result

from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.training.text_files import TextError, TextFiles, pieces

WORDS = "".join(f"line {i}: the thin tin hint {i * i} in the inn\n" for i in range(800))
SMALL = ("--size", "1m", "--set", "hidden_size=32", "--set", "num_hidden_layers=1", "--sequence-length", 16)


def run(name: str, *arguments: object) -> Result:
    return CliRunner().invoke(build_app([name]), [name, *map(str, arguments)])


def complaint(*arguments: object) -> str:
    result = run("train", *arguments)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("pararnn: ")]
    return line


def trained(out: Path, *more: object) -> Result:
    text = out.parent / "text.txt"
    text.write_text(WORDS)
    common = ("--vocab-size", 300, "--no-compile", "--dtype", "float32", "--threads", 1)
    return run("train", "--text", text, "--out", out, *SMALL, *common, *more)


def test_a_text_becomes_a_checkpoint_that_can_be_evaluated(tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = trained(out, "--steps", 4)
    assert result.exit_code == 0, result.output
    assert "bits per byte" in result.stdout
    assert load_checkpoint(out).config.hidden_size == 32
    assert "# model" in (out / "README.md").read_text()
    assert (out / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "model.run").exists()
    measured = run("evaluate", out, "--text", tmp_path / "text.txt", "--json")
    assert measured.exit_code == 0, measured.output
    figures = json.loads(measured.stdout)
    assert figures["bytes"] == len(WORDS.encode())
    assert 0 < figures["bits_per_byte"] < 12


def test_each_misuse_is_one_line(tmp_path: Path) -> None:
    out, empty, latin = tmp_path / "m", tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text(" \n")
    latin.write_bytes(b"caf\xe9 " * 999)
    for arguments, named in (
        (("--out", out), "--text"),
        (("--out", out, "--text", empty), "holds no text"),
        (("--out", out, "--text", latin), "--encoding"),
        (("--out", out, "--text", latin, "--encoding", "klingon"), "unknown"),
        (("--out", out, "--text", tmp_path / "absent"), "no file"),
        (("--out", out, "--text", latin, "--size", "9z"), "--size"),
        (("--out", out, "--text", latin, "--set", "hidden_sise=3"), "hidden_sise"),
        (("--out", out, "--resume"), "begin without --resume"),
    ):
        assert named in complaint(*arguments)
        assert not out.exists()


def test_pieces_join_to_the_text_and_have_a_bounded_size() -> None:
    for text in (WORDS, "x" * 10_000, "no end of words " * 999, "é" * 5000):
        found = list(pieces(iter([text[:777], text[777:]]), 500))
        assert "".join(found) == text
        assert max(map(len, found)) <= 500


def test_files_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffhello")
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "c.txt").write_bytes(b"a\0b")
    (tmp_path / ".hidden").write_text("secret")
    files = TextFiles(tmp_path)
    assert (files.num_files, files.left_out) == (1, 2)
    assert [document.text for document in files.documents()] == ["hello"]
    with pytest.raises(TextError, match="NUL"):
        TextFiles(tmp_path / "c.txt")
