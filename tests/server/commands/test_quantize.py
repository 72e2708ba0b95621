from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pararnn_server.commands.cli import build_app
from pararnn_server.commands.failure import CommandFailed
from pararnn_server.commands.text_files import TextFiles
from pararnn_server.text.tokenizer import Tokenizer
from typer.testing import CliRunner, Result

from pararnn_core.checkpoint import checkpoint_info
from tests.fixtures import TINY_VOCAB_SIZE, tiny_checkpoint
from tests.quantized_fixtures import tiny_quantized_checkpoint

WORDS = "the thin tin hint in the inn\n"


def run(*arguments: object, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(build_app(["quantize"]), ["quantize", *map(str, arguments)], env=env)


def complaint(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("pararnn: ")]
    return line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two documents, and files that are no documents."""
    path = tmp_path / "texts"
    (path / "deep").mkdir(parents=True)
    (path / ".hidden").mkdir()
    (path / "b.txt").write_text(WORDS * 40)
    (path / "deep" / "a.md").write_text(WORDS)
    (path / "empty.txt").write_text("\n \n")
    (path / "picture.png").write_bytes(b"\x89PNG\xff")
    (path / ".hidden" / "secret.txt").write_text(WORDS)
    return path


def test_a_calibrated_and_measured_checkpoint(model: Path, folder: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(WORDS * 3)
    target = tmp_path / "small"
    result = run(
        model, target, "--bits", 4, "--group-size", 16, "--calibrate", folder, "--evaluate", held_out
    )
    assert result.exit_code == 0, result.output
    quantization = checkpoint_info(target).config.quantization
    assert quantization is not None
    assert (quantization.method, quantization.bits, quantization.group_size) == ("gptq", 4, 16)
    card = (target / "README.md").read_text()
    assert "from 2 files of `texts` (1,189 bytes, 1 that are no UTF-8 text left out)" in card
    assert "Measured on `held-out.txt` (87 bytes)" in card
    assert str(tmp_path) not in card
    assert "perplexity" in result.stdout
    assert str(target) in result.stdout


def test_a_name_is_looked_up_as_serve_does(model: Path, tmp_path: Path) -> None:
    result = run("model", tmp_path / "q", env={"PARARNN_CHECKPOINT_DIR": str(model.parent)})
    assert result.exit_code == 0, result.output
    quantization = checkpoint_info(tmp_path / "q").config.quantization
    assert quantization is not None
    assert (quantization.method, quantization.bits) == ("round", 8)
    assert "--evaluate" in result.stderr


def test_options_come_from_the_environment(model: Path, tmp_path: Path) -> None:
    env = {"PARARNN_BITS": "4", "PARARNN_GROUP_SIZE": "64"}
    assert run(model, tmp_path / "q", env=env).exit_code == 0
    quantization = checkpoint_info(tmp_path / "q").config.quantization
    assert quantization is not None
    assert (quantization.bits, quantization.group_size) == (4, 64)


def test_each_misuse_is_one_line(model: Path, tmp_path: Path) -> None:
    target, empty, occupied = tmp_path / "q", tmp_path / "empty.txt", tmp_path / "occupied"
    empty.write_text("\n")
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("irreplaceable")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    quantized = tiny_quantized_checkpoint(tmp_path / "quantized")
    for arguments, named in (
        ((model, target, "--bits", 5), "bits must be 8 or 4"),
        ((model, target, "--group-size", 17), "group_size must be a multiple of 16"),
        (("no-such-model", target), "no-such-model"),
        ((quantized, target), "quantised already"),
        ((model, model), "source itself"),
        ((model, occupied), "no checkpoint of this project"),
        ((model, target, "--calibrate", empty), f"--calibrate {empty}: holds no text"),
        ((model, target, "--evaluate", empty), f"--evaluate {empty}: holds no text"),
        ((model, target, "--evaluate", tmp_path / "absent"), "--evaluate"),
        ((model, target, "--evaluate", latin), "UTF-8"),
    ):
        assert named in complaint(*arguments)
        assert not target.exists()


def test_a_document_is_its_bos_and_its_text_as_plain_characters(model: Path, folder: Path) -> None:
    tokenizer = Tokenizer(model, TINY_VOCAB_SIZE)
    (folder / "b.txt").write_text("a<|eos|>")
    first, second = TextFiles("--calibrate", folder).documents(tokenizer)
    assert first[0] == second[0] == tokenizer.bos_id
    assert tokenizer.eos_id not in first
    assert tokenizer.decode(first) == "a<|eos|>"
    assert tokenizer.decode(second) == WORDS


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\xff")
    with pytest.raises(CommandFailed, match="holds no text"):
        TextFiles("--calibrate", tmp_path)
