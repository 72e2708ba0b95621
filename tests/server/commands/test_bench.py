from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner

from pararnn_core import ops

QUICK = ("--repetitions", "1", "--prompt", "4", "--decode-batch", "1,2")


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    threads = ops.num_threads()
    yield
    ops.set_num_threads(threads)


def _bench(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), ["bench", *arguments])


def _figures(checkpoint: Path, file: Path, *arguments: str) -> dict[str, Any]:
    result = _bench(str(checkpoint), *QUICK, "--json", str(file), *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(file.read_text())
    return {**found, "shown": result.stdout}


def test_every_test_of_every_thread_count_is_a_figure_beside_its_limit(
    checkpoint: Path, tmp_path: Path
) -> None:
    found = _figures(checkpoint, tmp_path / "out.json", "--threads", "1,2")
    tests = [(each["threads"], each["test"]) for each in found["figures"]]
    assert tests == [(count, test) for count in (1, 2) for test in ("prefill 4", "decode b1", "decode b2")]
    for each in found["figures"]:
        assert each["share"] == each["tokens_per_second"]["median"] / each["limit"]
        assert each["limited_by"] in ("read bandwidth", "matrix rate")
    assert [limits["threads"] for limits in found["limits"]] == [1, 2]


def test_what_is_shown_is_what_the_file_holds(checkpoint: Path, tmp_path: Path) -> None:
    found = _figures(checkpoint, tmp_path / "out.json", "--threads", "1")
    for each in found["figures"]:
        (row,) = [line for line in found["shown"].splitlines() if each["test"] in line]
        assert each["label"] in row
        assert f"{each['share']:.0%}" in row


def test_a_random_model_needs_no_checkpoint() -> None:
    result = _bench("--random", "25m", "--weights", "bf16", *QUICK)
    assert result.exit_code == 0, result.output
    assert "random 25m gru bf16" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--random", "3m"), "preset"),
        (("--random", "25m", "--weights", "int2"), "weights"),
        (("--random", "25m", "--cell", "elman"), "cell"),
        (("--random", "25m", "--threads", "many"), "--threads"),
        (("--random", "25m", "--threads", "2000"), "--threads"),
        (("--random", "25m", "--prompt", "0"), "--prompt"),
        (("--random", "25m", "--prompt", "none", "--decode-batch", "none"), "nothing to measure"),
        (("no-such-model",), "no-such-model"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    result = _bench(*arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("pararnn: ")
    assert complaint in line
