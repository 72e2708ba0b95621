from pathlib import Path

import pytest

from checkpoints.distil import background
from checkpoints.distil.__main__ import build_parser, main
from checkpoints.distil.commands import recipe_changes
from checkpoints.distil.mixers_file import read_mixers
from checkpoints.distil.places import training_folder
from tests.checkpoints.distil.tiny import STEP, tiny_trainer


def test_the_training_folder_is_the_one_named_else_in_the_users_cache() -> None:
    assert training_folder({"PARARNN_TRAIN_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert training_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/pararnn/distil")
    assert training_folder({}) == Path.home() / ".cache/pararnn/distil"


def test_a_run_is_looked_at_drawn_and_exported_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARARNN_TRAIN_DIR", str(tmp_path))
    main(["status"])
    assert "nothing trains" in capsys.readouterr().out
    trainer = tiny_trainer(tmp_path / "gru")
    trainer.one_step()
    trainer.folder.save(trainer.state())
    for tokens in (STEP, 2 * STEP):
        trainer.folder.log({"tokens": tokens, "stage": "align", "loss": 0.5})
    main(["status"])
    assert "trains in" in capsys.readouterr().out
    main(["curve", "--out", str(tmp_path / "curve.png")])
    main(["export", "--out", str(tmp_path / "mixers.safetensors")])
    mixers = read_mixers(tmp_path / "mixers.safetensors")
    assert mixers.tokens == STEP
    assert [row["tokens"] for row in mixers.curve] == [STEP]


def test_start_hands_a_changed_recipe_to_the_process_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARARNN_TRAIN_DIR", str(tmp_path))
    started: list[list[str]] = []
    monkeypatch.setattr(background, "start", lambda _, arguments: started.append(arguments) or 1)
    main(["start", "--align-tokens", "1000", "--distil-rate", "0.001"])
    options = build_parser().parse_args(["train", *started[0]])
    assert recipe_changes(options) == {"align": {"tokens": 1000}, "distil": {"learning_rate": 0.001}}


def test_without_a_run_export_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARARNN_TRAIN_DIR", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["export", "--out", str(tmp_path / "mixers.safetensors")])
    assert "train first" in capsys.readouterr().err
    main(["stop"])
    assert "nothing was running" in capsys.readouterr().out
