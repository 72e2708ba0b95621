"""Fields that say how a reply ends, over HTTP: what ended it is in the answer, streamed or whole."""

from typing import Any

import pytest

from tests.server.http_server import HttpServer

X, EOS = str(ord("x") - 33), "262"
BODY = {"max_tokens": 8, "temperature": 0, "logit_bias": {X: 100}}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "the"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "the"}]}),
]
ENDS: list[tuple[dict[str, Any], str, str | int | None]] = [
    ({}, "length", None),
    ({"stop": ["xxx"]}, "stop", "xxx"),
    ({"stop_token_ids": [int(X)]}, "stop", int(X)),
    ({"logit_bias": {EOS: 100}}, "stop", None),
]


@pytest.mark.parametrize(("path", "content"), ROUTES)
@pytest.mark.parametrize(("fields", "reason", "stop"), ENDS)
def test_what_ended_a_reply_is_in_the_answer(
    server: HttpServer,
    path: str,
    content: dict[str, Any],
    fields: dict[str, Any],
    reason: str,
    stop: str | int | None,
) -> None:
    body = {**content, **BODY, **fields}
    [whole] = server.answer(path, body)["choices"]
    [last] = server.events(path, body)[-1]["choices"]
    for choice in (whole, last):
        assert (choice["finish_reason"], choice["stop_reason"]) == (reason, stop)


@pytest.mark.parametrize("n", [1, 3])
def test_min_tokens_holds_for_every_choice_and_in_responses(server: HttpServer, n: int) -> None:
    fields = {**BODY, "logit_bias": {EOS: 100}, "min_tokens": 3, "n": n}
    assert server.complete("the", **fields)["usage"]["completion_tokens"] == 4 * n
    fields.pop("n")
    assert server.answer("/v1/responses", {"input": "the", **fields})["usage"]["output_tokens"] == 4


def test_included_stop_is_shown_streamed_or_whole(server: HttpServer) -> None:
    body = {"prompt": "the", **BODY, "stop": "xxx", "include_stop_str_in_output": True}
    assert server.answer("/v1/completions", body)["choices"][0]["text"] == "xxx"
    events = server.events("/v1/completions", body)
    assert "".join(choice["text"] for event in events for choice in event["choices"]) == "xxx"


def test_session_holds_an_included_stop_and_repeats_it(server: HttpServer) -> None:
    session = server.create_session()
    body = {"prompt": "the", **BODY, "stop": "xxx", "include_stop_str_in_output": True, "session_id": session}
    answers = [server.post("/v1/completions", body, headers={"idempotency-key": "k"}).json() for _ in (1, 2)]
    assert answers[0] == answers[1]
    assert answers[0]["choices"][0]["text"] == "xxx"
    assert answers[0]["choices"][0]["stop_reason"] == "xxx"
    assert answers[0]["session"]["num_tokens"] == answers[0]["usage"]["prompt_tokens"] + 3


def test_special_tokens_are_spelled_in_text_and_log_probabilities(server: HttpServer) -> None:
    fields = {**BODY, "logit_bias": {"263": 100}, "max_tokens": 2, "logprobs": 0}
    hidden, spelled = (
        server.complete("the", **fields, skip_special_tokens=skips)["choices"][0] for skips in (True, False)
    )
    assert (hidden["text"], spelled["text"]) == ("", "<|user|>" * 2)
    assert hidden["logprobs"]["token_logprobs"] == spelled["logprobs"]["token_logprobs"]
    assert (hidden["logprobs"]["text_offset"], spelled["logprobs"]["text_offset"]) == ([0, 0], [0, 8])
