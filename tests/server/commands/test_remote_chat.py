from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_client import PararnnClient
from pararnn_server.cli import build_app
from pararnn_server.commands.remote_chat import RemoteConversation
from pararnn_server.commands.sampling_options import ChatSampling
from typer.testing import CliRunner

from tests.server.http_server import FOREVER, HttpServer, eventually

PLAIN = ChatSampling(FOREVER, 1.0, 1.0, 0, 0.0, 1.0, seed=5)


@pytest.fixture
def client(server: HttpServer) -> Iterator[PararnnClient]:
    with PararnnClient(server.url) as opened:
        yield opened


def _said(*arguments: str, typed: str) -> str:
    result = CliRunner().invoke(build_app(), ["chat", "--seed", "5", "--max-tokens", "12", *arguments], typed)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("mode", [(), ("--raw",), ("--temperature", "0")])
def test_a_conversation_is_the_same_here_and_on_a_server(
    mode: tuple[str, ...], checkpoint: Path, server: HttpServer
) -> None:
    typed = "hello\nand then\n/reset\nhello\n"
    here = _said("--checkpoint", str(checkpoint), *mode, typed=typed)
    there = _said("--url", server.url, *mode, typed=typed)
    assert here == there
    assert len(here) > 3


def test_a_chat_leaves_no_session_behind(server: HttpServer, client: PararnnClient) -> None:
    before = len(client.sessions.list(limit=1000).data)
    _said("--url", server.url, typed="hello\n/reset\nhello\n")
    assert len(client.sessions.list(limit=1000).data) == before


def test_stop_ends_a_reply_on_the_server_and_keeps_it(server: HttpServer, client: PararnnClient) -> None:
    conversation = RemoteConversation(client, PLAIN, raw=True)
    pieces = conversation.reply("go on ")
    next(pieces)
    conversation.stop()
    list(pieces)
    eventually(lambda: server.busy_slots() == 0)
    assert 0 < conversation.completion_tokens < FOREVER
    assert conversation.facts().num_tokens > conversation.completion_tokens
    conversation.close()
