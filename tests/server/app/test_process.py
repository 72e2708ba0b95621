import errno
import socket
from pathlib import Path

import pytest
import torch
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.app.process import _listen, run
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.tokenizer import TokenizerError

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.ops.devices import DeviceUnavailable
from tests.fixtures import tiny_checkpoint


def test_missing_checkpoint_fails_before_anything_listens() -> None:
    with pytest.raises(ConfigurationError, match="no-such-checkpoint"):
        run(Settings(checkpoint="no-such-checkpoint", port=0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_missing_device_fails_before_anything_listens(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pararnn_server.app.process._listen", lambda _: pytest.fail("it listens"))
    with pytest.raises(DeviceUnavailable, match="device must be 'cpu' here, got 'cuda'"):
        run(Settings(checkpoint=str(checkpoint), device="cuda", port=0))


def test_port_in_use_is_named(checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as error:
            run(Settings(checkpoint=str(checkpoint), port=port))
    assert f"--port (PARARNN_PORT): cannot listen on 127.0.0.1 port {port}: " in str(error.value)
    assert str(error.value).count(str(port)) == 1
    assert "--port 8001" in str(error.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_a_fault_of_the_host_not_of_the_port(host: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"--host .* {host}: .*an address of this machine") as error:
        _listen(Settings(host=host, port=0))
    assert "--port" not in str(error.value)


def test_a_port_that_needs_rights_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> socket.socket:
        raise PermissionError(
            errno.EACCES, "Permission denied (while attempting to bind on address ('::', 80))"
        )

    monkeypatch.setattr(socket, "create_server", denied)
    with pytest.raises(ConfigurationError, match="port 80: Permission denied; ports below 1024"):
        _listen(Settings(port=80))


def test_truncated_weights_end_the_server(tmp_path: Path) -> None:
    broken = tiny_checkpoint(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        run(Settings(checkpoint=str(broken), port=0))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", "{}", "tokenizer"),
        ("tokenizer_config.json", "[]", "object"),
        ("tokenizer_config.json", '{"chat_template": "{% for %}"}', "chat template"),
        ("tokenizer_config.json", '{"bos_token": "<|none|>"}', "bos_token"),
        ("generation_config.json", '{"eos_token_id": [265]}', "eos_token_id"),
    ],
)
def test_broken_text_files_end_the_server(tmp_path: Path, name: str, text: str, message: str) -> None:
    broken = tiny_checkpoint(tmp_path / "broken")
    (broken / name).write_text(text)
    with pytest.raises((TokenizerError, CheckpointError), match=message):
        run(Settings(checkpoint=str(broken), port=0))


def reaches(host: str, listener: socket.socket) -> bool:
    with socket.create_connection((host, listener.getsockname()[1]), timeout=5):
        return True


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs a machine with IPv6")
def test_every_address_means_ipv4_too() -> None:
    with _listen(Settings(host="::", port=0)) as listener:
        assert reaches("127.0.0.1", listener)
        assert reaches("::1", listener)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs a machine with IPv6")
def test_one_ipv6_address_is_one_address() -> None:
    with _listen(Settings(host="::1", port=0)) as listener:
        assert reaches("::1", listener)
        with pytest.raises(ConnectionRefusedError):
            reaches("127.0.0.1", listener)
