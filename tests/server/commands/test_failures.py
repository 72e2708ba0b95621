"""A user's mistake gives one line and exit code 1 in every command."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner


def _complaint(*arguments: str) -> str:
    """The last line on standard error; everything before it is progress."""
    result = CliRunner().invoke(build_app(), list(arguments))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith("pararnn: ")] == lines[-1:]
    return lines[-1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def truncated(checkpoint: Path, tmp_path: Path) -> Path:
    broken = shutil.copytree(checkpoint, tmp_path / "truncated")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return broken


def test_serve_names_a_port_that_is_taken(checkpoint: Path, taken_port: int) -> None:
    complaint = _complaint("serve", "--checkpoint", str(checkpoint), "--port", str(taken_port))
    assert str(taken_port) in complaint


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_a_checkpoint_that_is_not_there_is_named(command: str) -> None:
    assert "no-such-model" in _complaint(command, "--checkpoint", "no-such-model")


def test_inspect_names_a_checkpoint_that_is_not_there_and_lists_sizes() -> None:
    complaint = _complaint("inspect", "no-such-model")
    assert complaint.startswith("pararnn: CHECKPOINT: cannot find checkpoint 'no-such-model': ")
    assert complaint.endswith("; sizes are 25m, 130m, 406m, 1.4b, 2.9b, 7b")


def test_quantize_and_bench_name_their_argument(tmp_path: Path) -> None:
    assert _complaint("quantize", "nope", str(tmp_path / "q")).startswith("pararnn: SOURCE: cannot find ")
    assert _complaint("bench", "nope").startswith("pararnn: CHECKPOINT: cannot find ")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("serve", "--port", "80x"), "--port (PARARNN_PORT): must be an integer, not '80x'"),
        (("serve", "--prot", "80"), "No such option"),
        (("chat", "--temperature", "hot"), "'--temperature'"),
        (("chat", "--top-p", "7"), "'--top-p'"),
        (("quantize",), "SOURCE"),
        (("sessions", "show"), "sessions show --help"),
        (("nonsense",), "nonsense"),
        (("sessions", "list", "--url", "127.0.0.1:8000"), "write http://127.0.0.1:8000"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: tuple[str, ...], wanted: str) -> None:
    complaint = _complaint(*arguments)
    assert wanted in complaint
    assert "unable to parse" not in complaint


def test_without_arguments_the_help_is_shown() -> None:
    result = CliRunner().invoke(build_app(), [])
    assert "Serve, talk to and look into" in result.output
    assert "pararnn: " not in result.output


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_a_truncated_checkpoint_is_refused_by_name(command: str, truncated: Path) -> None:
    port = ("--port", "0") if command == "serve" else ()
    assert "model.safetensors" in _complaint(command, "--checkpoint", str(truncated), *port)


def test_inspect_refuses_a_truncated_checkpoint(truncated: Path) -> None:
    assert "model.safetensors" in _complaint("inspect", str(truncated))


def test_verify_finds_one_flipped_bit(checkpoint: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(checkpoint, tmp_path / "changed")
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    assert "fingerprint" in _complaint("inspect", str(changed), "--verify")


def test_serve_without_keys_does_not_leave_this_machine(checkpoint: Path) -> None:
    complaint = _complaint("serve", "--checkpoint", str(checkpoint), "--host", "0.0.0.0", "--port", "0")
    assert "0.0.0.0" in complaint
    assert "keys" in complaint


def test_chat_names_a_server_that_does_not_answer(taken_port: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert url in _complaint("chat", "--url", url)


def test_convert_refuses_a_pickle_unless_told(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "golden" / "fork_paragru_state_dict.pt"
    assert "--allow-pickle" in _complaint("convert", str(source), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_convert_wants_settings_as_field_and_value(tmp_path: Path) -> None:
    assert "--set nonsense" in _complaint("convert", "source", str(tmp_path / "out"), "--set", "nonsense")
