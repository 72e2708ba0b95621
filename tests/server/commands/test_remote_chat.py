from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_client import PararnnClient
from pararnn_server.commands.cli import build_app
from pararnn_server.commands.remote_chat import RemoteConversation
from pararnn_server.commands.sampling_options import ChatSampling
from pararnn_server.models.loading import Loaded
from typer.testing import CliRunner

from tests.server.http_server import ENDLESS, FOREVER, HttpServer, connection, eventually, serving

PLAIN = ChatSampling(FOREVER, 1.0, 1.0, 0, 0.0, 1.0, seed=5)
ONE_TOKEN = ChatSampling(1, 1.0, 1.0, 0, 0.0, 1.0, seed=5)


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


def test_a_chat_says_that_its_session_is_deleted(server: HttpServer, checkpoint: Path) -> None:
    for where, said in (("--url", server.url), True), (("--checkpoint", str(checkpoint)), False):
        result = CliRunner().invoke(build_app(), ["chat", "--max-tokens", "1", *where], "/quit\n")
        assert result.stderr.splitlines()[-1].startswith("(the session of this chat was deleted") is said


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


def test_system_message_opens_the_chat_even_if_the_first_reply_came_to_nothing(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1) as server, PararnnClient(server.url) as client:
        stopped, smooth = (
            RemoteConversation(client, ONE_TOKEN, raw=False, system="be brief") for _ in range(2)
        )
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            thread = threading.Thread(target=lambda: list(stopped.reply("a")))
            thread.start()
            eventually(lambda: ("kept in", "a slot of the model") in stopped.facts().details)
            stopped.stop()
            thread.join(20)
        assert stopped.facts().num_tokens == 0
        for conversation in (stopped, smooth):
            list(conversation.reply("a"))
        assert stopped.facts().num_tokens == smooth.facts().num_tokens
