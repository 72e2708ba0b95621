"""Stop strings that name a special token, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer

USER = "<|user|>"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
INPUTS: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "the"},
    CHAT: {"messages": [{"role": "user", "content": "the"}]},
}


def fields_of(route: str, loaded: Loaded) -> dict[str, Any]:
    """The reply is a seeded row of the letter x and of the special token."""
    bias = {str(ord("x") - 33): 100.0, str(loaded.tokenizer.special_ids[USER]): 100.0}
    return {**INPUTS[route], "logit_bias": bias, "seed": 4, "max_tokens": 24, "ignore_eos": True}


def tokens_of_reply(server: HttpServer, route: str, fields: dict[str, Any]) -> list[str]:
    """Tokens of the reply without stop strings, special ones by their name."""
    if route == CHAT:
        choice = server.answer(route, {**fields, "logprobs": True})["choices"][0]
        return [token["token"] for token in choice["logprobs"]["content"]]
    tokens: list[str] = server.answer(route, {**fields, "logprobs": 0})["choices"][0]["logprobs"]["tokens"]
    return tokens


def reply_of(server: HttpServer, route: str, fields: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """Text, finish reason and session of a reply, streamed or not."""
    answers = server.events(route, fields) if stream else [server.answer(route, fields)]
    choices = [choice for answer in answers for choice in answer["choices"]]
    texts = [
        (c.get("delta") or c.get("message") or c).get("content" if route == CHAT else "text") for c in choices
    ]
    sessions = [answer["session"] for answer in answers if answer.get("session")]
    return {
        "text": "".join(filter(None, texts)),
        "finish_reason": choices[-1]["finish_reason"],
        "num_tokens": sessions[-1]["num_tokens"] if sessions else None,
    }


@pytest.mark.parametrize("route", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("stop", [USER, f"x{USER}{USER}", f"{USER}xx"])
def test_a_special_token_that_a_stop_names_ends_the_reply(
    server: HttpServer, loaded: Loaded, route: str, stop: str
) -> None:
    fields = fields_of(route, loaded)
    tokens = tokens_of_reply(server, route, fields)
    assert set(tokens) == {"x", USER}, tokens
    spelled = "".join(tokens)
    before = spelled[: spelled.index(stop)]
    text = before.replace(USER, "")
    prompt = server.answer(route, fields)["usage"]["prompt_tokens"]
    num_tokens = prompt + len(text) + before.count(USER)
    expected = {"text": text, "finish_reason": "stop"}
    for stream in (False, True):
        alone = reply_of(server, route, {**fields, "stop": [stop]}, stream=stream)
        assert alone == {**expected, "num_tokens": None}
        session = server.create_session()
        kept = reply_of(server, route, {**fields, "stop": stop, "session_id": session}, stream=stream)
        assert kept == {**expected, "num_tokens": num_tokens}
        assert server.get(f"/v1/sessions/{session}").json()["num_tokens"] == num_tokens
