"""Token ids and log-probabilities of prompts in answers, streamed or whole, of one prompt or several."""

from __future__ import annotations

from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

X, EOS = str(ord("x") - 33), "262"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
CHAT_BODY = {"messages": [{"role": "user", "content": "the x"}]}
BODY: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "return_token_ids": True}
ENDS: list[dict[str, Any]] = [
    {},
    {"logit_bias": {X: 100}, "stop": "xxx"},
    {"logit_bias": {EOS: 100}},
    {"logit_bias": {X: 100}, "stop_token_ids": [int(X)]},
    {"logit_bias": {X: 100}, "stop": "xx", "include_stop_str_in_output": True},
]


def streamed(events: list[dict[str, Any]]) -> list[int]:
    return [token for event in events for choice in event["choices"] for token in choice.get("token_ids", ())]


@pytest.mark.parametrize("fields", ENDS)
def test_ids_are_all_that_were_sampled_streamed_or_whole(server: HttpServer, fields: dict[str, Any]) -> None:
    for path, content in ((COMPLETIONS, {"prompt": "the x"}), (CHAT, CHAT_BODY)):
        body = {**content, **BODY, **fields}
        answer = server.answer(path, body)
        [choice] = answer["choices"]
        assert len(choice["token_ids"]) == answer["usage"]["completion_tokens"]
        assert streamed(server.events(path, body)) == choice["token_ids"]
        if not fields:
            tokenizer = server.service.models.get().tokenizer
            text = choice.get("text") or choice["message"]["content"]
            assert tokenizer.decode(choice["token_ids"]) == text


def test_prompt_ids_are_those_that_were_read(server: HttpServer) -> None:
    prompts = ["the x", "in"]
    answer = server.complete(prompts, n=2, **BODY)
    expected = [server.answer("/tokenize", {"prompt": text})["tokens"] for text in prompts]
    assert [choice["prompt_token_ids"] for choice in answer["choices"]] == [
        expected[i // 2] for i in range(4)
    ]
    events = server.events(COMPLETIONS, {"prompt": prompts, "n": 2, **BODY})
    seen = [
        (choice["index"], choice["prompt_token_ids"])
        for event in events
        for choice in event["choices"]
        if "prompt_token_ids" in choice
    ]
    assert sorted(seen) == [(i, expected[i // 2]) for i in range(4)]


def test_prompt_ids_of_a_chat_are_beside_its_choices(server: HttpServer) -> None:
    expected = server.answer("/tokenize", CHAT_BODY)["tokens"]
    assert server.answer(CHAT, {**CHAT_BODY, **BODY, "n": 2})["prompt_token_ids"] == expected
    first, *others = server.events(CHAT, {**CHAT_BODY, **BODY, "n": 2})
    assert first["prompt_token_ids"] == expected
    assert not any("prompt_token_ids" in event for event in others)


def test_echo_does_not_add_ids_of_the_prompt_to_the_reply(server: HttpServer) -> None:
    plain, echoed = (server.complete("the x", echo=echo, **BODY)["choices"][0] for echo in (False, True))
    assert plain["token_ids"] == echoed["token_ids"]


def test_nothing_is_reported_unless_it_is_asked_for(server: HttpServer) -> None:
    answer = server.complete("the x", max_tokens=2)
    assert not {"token_ids", "prompt_token_ids", "prompt_logprobs"} & answer["choices"][0].keys()
    answer = server.answer(CHAT, {**CHAT_BODY, "max_tokens": 2})
    assert not {"prompt_token_ids", "prompt_logprobs"} & answer.keys()


def test_prompt_log_probabilities_are_those_of_the_echo(server: HttpServer) -> None:
    fields = {"max_tokens": 1, "temperature": 0}
    # Read before, so that a stored state could be resumed: every row must come all the same.
    server.complete("the x", **fields)
    choice = server.complete("the x", **fields, prompt_logprobs=3, return_token_ids=True)["choices"][0]
    echo = server.complete("the x", **fields, logprobs=3, echo=True)["choices"][0]["logprobs"]
    rows = choice["prompt_logprobs"]
    assert rows[0] is None
    assert len(rows) == len(choice["prompt_token_ids"])
    for row, token, logprob in zip(rows, choice["prompt_token_ids"], echo["token_logprobs"], strict=False):
        if row is not None:
            assert row[str(token)]["logprob"] == logprob
            ranked = sorted((one for one in row.values() if one["rank"]), key=lambda one: one["rank"])
            assert [one["rank"] for one in ranked] == [1, 2, 3]
            assert [one["logprob"] for one in ranked] == sorted(
                (one["logprob"] for one in ranked), reverse=True
            )
            assert len(row) in (3, 4)


def test_prompt_log_probabilities_go_with_echo_of_another_width(server: HttpServer) -> None:
    fields = {"max_tokens": 1, "temperature": 0, "echo": True}
    both = server.complete("the x", **fields, logprobs=1, prompt_logprobs=4)["choices"][0]
    assert all(len(row) in (4, 5) for row in both["prompt_logprobs"] if row)
    narrow = server.complete("the x", **fields, logprobs=1)["choices"][0]
    assert both["logprobs"] == narrow["logprobs"]
    assert both["text"] == narrow["text"]


def test_prompt_log_probabilities_of_a_chat_and_of_several_prompts(server: HttpServer) -> None:
    chat = server.answer(CHAT, {**CHAT_BODY, "max_tokens": 0, "prompt_logprobs": 0})
    assert [None if row is None else len(row) for row in chat["prompt_logprobs"]][:2] == [None, 1]
    assert len(chat["prompt_logprobs"]) == chat["usage"]["prompt_tokens"]
    answer = server.complete(["the x", "in"], max_tokens=1, n=2, prompt_logprobs=1)
    rows = [choice["prompt_logprobs"] for choice in answer["choices"]]
    assert rows[0] == rows[1] != rows[2] == rows[3]


def test_tokens_are_named_by_their_ids(server: HttpServer) -> None:
    fields = {"max_tokens": 2, "temperature": 0, "return_tokens_as_token_ids": True, "return_token_ids": True}
    choice = server.complete("the x", logprobs=1, **fields)["choices"][0]
    assert choice["logprobs"]["tokens"] == [f"token_id:{token}" for token in choice["token_ids"]]
    assert all(name.startswith("token_id:") for row in choice["logprobs"]["top_logprobs"] for name in row)
    chat = server.answer(CHAT, {**CHAT_BODY, **fields, "logprobs": True, "top_logprobs": 1})["choices"][0]
    names = [one["token"] for one in chat["logprobs"]["content"]]
    assert names == [f"token_id:{token}" for token in chat["token_ids"]]


def test_what_cannot_be_had_together_names_both(server: HttpServer) -> None:
    session = server.create_session(text="the")
    body = {"prompt": "x", "session_id": session, "max_tokens": 1}
    response = server.post(COMPLETIONS, {**body, "prompt_logprobs": 1})
    assert response.status_code == 400
    assert "session_id" in response.json()["error"]["message"]
    keyed = server.post(COMPLETIONS, {**body, "return_token_ids": True}, headers={"idempotency-key": "k"})
    assert keyed.status_code == 400
    assert "Idempotency-Key" in keyed.json()["error"]["message"]
    assert server.answer(COMPLETIONS, {**body, "return_token_ids": True})["choices"][0]["prompt_token_ids"]


def test_reports_count_in_the_size_of_an_answer(loaded: Loaded) -> None:
    with serving(loaded, max_answer_bytes=1 << 16) as server:
        response = server.post(COMPLETIONS, {"prompt": "x" * 1000, "max_tokens": 1, "prompt_logprobs": 5})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt_logprobs")
        assert server.complete("x" * 100, max_tokens=1, prompt_logprobs=5)
        response = server.post(COMPLETIONS, {"prompt": "x" * 9500, "max_tokens": 1, "return_token_ids": True})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "return_token_ids")
