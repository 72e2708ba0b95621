"""A tuned state is the beginning of a session: it has no ids, and every first request starts from it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import safetensors.torch
import torch
from pararnn_server.models.loading import Loaded

from tests.server.http.routes.test_session_state import File, export, upload
from tests.server.http.routes.test_sessions import error_of
from tests.server.http_server import HttpServer, serving

PROMPT = [5, 80, 33, 7, 120]
GREEDY = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}


def tuned(server: HttpServer, **fields: str) -> bytes:
    """A session file as `pararnn tune` writes it, with a random state."""
    empty = File(export(server, server.create_session()))
    tensors = safetensors.torch.load(empty.data())
    generator = torch.Generator().manual_seed(0)
    for name in ("cell", "conv"):
        tensors[name] = torch.randn(tensors[name].shape, generator=generator)
    body = b"".join(tensors[name].numpy().tobytes() for name in empty.header if name != "__metadata__")
    empty.fields.update({"turn": "1", **fields})
    text = json.dumps(empty.header).encode()
    return struct.pack("<Q", len(text)) + text + body


def start(server: HttpServer) -> str:
    imported = upload(server, tuned(server))
    assert imported.status_code == 201, imported.text
    return str(imported.json()["id"])


def choices(server: HttpServer, prompt: Any, **fields: Any) -> Any:
    return server.complete(prompt, logprobs=3, **{**GREEDY, **fields})["choices"]


@pytest.fixture(scope="module")
def uncached(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded, state_cache_bytes=0) as running:
        yield running


def test_a_tuned_session_has_a_turn_and_no_ids(server: HttpServer) -> None:
    session = server.get(f"/v1/sessions/{start(server)}").json()
    assert (session["turn"], session["num_tokens"], session["history_bytes"]) == (1, 0, 0)
    assert not session["build_changed"]


def test_the_cache_neither_serves_nor_keeps_what_a_tuned_session_reads(
    server: HttpServer, uncached: HttpServer
) -> None:
    plain = choices(server, PROMPT)
    expected = choices(uncached, PROMPT, session_id=start(uncached))
    assert choices(server, PROMPT, session_id=start(server)) == expected != plain
    assert choices(server, PROMPT) == plain


def test_a_first_chat_is_read_whole_also_its_system_message(server: HttpServer) -> None:
    for messages in (
        [{"role": "user", "content": "hi"}],
        [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}],
    ):
        counts = [
            server.answer(
                "/v1/chat/completions", {"messages": messages, "session_id": session_id, "max_tokens": 2}
            )["usage"]["prompt_tokens"]
            for session_id in (server.create_session(), start(server))
        ]
        assert counts[0] == counts[1]


def test_forks_and_rollbacks_lead_to_the_tuned_state(server: HttpServer) -> None:
    session_id = start(server)
    fork = server.answer(f"/v1/sessions/{session_id}/fork", {})["id"]
    expected = choices(server, PROMPT, session_id=session_id)
    assert choices(server, PROMPT, session_id=fork) == expected
    server.answer(f"/v1/sessions/{fork}/rollback", {"turns": 1})
    assert choices(server, PROMPT, session_id=fork) == expected
    again = upload(server, export(server, start(server))).json()["id"]
    assert choices(server, PROMPT, session_id=again) == expected


def test_an_empty_prompt_has_nothing_to_continue(server: HttpServer) -> None:
    answer = server.post("/v1/completions", {"prompt": "", "session_id": start(server), **GREEDY})
    assert answer.status_code == 400


def test_a_state_of_another_chat_template_is_refused_with_advice(server: HttpServer) -> None:
    refused = upload(server, tuned(server, chat_template="0" * 64))
    assert error_of(refused) == (400, "chat_template", "invalid_state_file")
    assert "serve the checkpoint with that one, or tune again" in refused.text


def test_ids_that_were_seen_belong_to_a_session_with_ids(server: HttpServer) -> None:
    file = File(tuned(server))
    file.body[-1] = 1
    assert error_of(upload(server, file.data()))[:2] == (400, "num_tokens")
