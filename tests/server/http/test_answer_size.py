"""An answer is bounded before it is begun, and what it holds meanwhile is held once and counted."""

import asyncio
import json
import math
from itertools import chain
from typing import Any

import pytest
from pararnn_server.access.owner import Owner
from pararnn_server.engine.generation import GenerationPlan
from pararnn_server.engine.outputs import OutputQueue
from pararnn_server.engine.request import PromptLogprobs, Tokens
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import CHAT_ENTRY, COMPLETION_ENTRY, fitted
from pararnn_server.http.formats.json_parts import PART_BYTES, filled, json_list, json_text, send_json
from pararnn_server.models.loading import Loaded
from pararnn_server.text.prompts import EncodedPrompt

from pararnn_core.sampling.sampled import Sampled
from pararnn_core.sampling_params import SamplingParams
from tests.server.http_server import HttpServer, serving

COMPLETIONS = "/v1/completions"
LIMIT = 1 << 20


def plan(
    num_tokens: int = 10, num_choices: int = 1, max_tokens: int = 16, logprobs: int | None = None
) -> GenerationPlan:
    params = SamplingParams(seed=0, max_tokens=max_tokens, logprobs=logprobs)
    return GenerationPlan(
        "r", [EncodedPrompt([1] * num_tokens)], params, num_choices, Owner(""), deadline=0.0
    )


def fit(
    given: GenerationPlan, *, echo: bool = False, is_stream: bool = False, is_chosen: bool = True
) -> GenerationPlan:
    return fitted(given, COMPLETION_ENTRY, LIMIT, echo=echo, is_stream=is_stream, is_chosen=is_chosen)


def test_a_small_answer_is_left_alone() -> None:
    given = plan(logprobs=20)
    assert fit(given, echo=True) is given


@pytest.mark.parametrize(
    ("given", "options", "named"),
    [
        (plan(3000, 64, 1, 20), {"echo": True}, ["n", "echo", "logprobs"]),
        (plan(3000, 64, 1, 20), {"echo": True, "is_stream": True}, ["n", "echo", "logprobs"]),
        (plan(1_000_000), {"echo": True}, ["echo", "max_tokens"]),
        (plan(max_tokens=10_000, logprobs=20), {}, ["logprobs", "max_tokens"]),
        (plan(max_tokens=500_000), {}, ["max_tokens"]),
    ],
)
def test_a_large_answer_is_refused_by_what_makes_it_large(
    given: GenerationPlan, options: Any, named: list[str]
) -> None:
    with pytest.raises(BadRequest, match="max_answer_bytes") as caught:
        fit(given, **options)
    assert caught.value.param == named[0]
    assert all(name in caught.value.message for name in named)


def test_a_number_of_tokens_that_nobody_chose_is_what_fits() -> None:
    params = fit(plan(max_tokens=500_000, logprobs=20), is_chosen=False).params
    assert 1000 < params.max_tokens < 500_000
    assert fit(plan(max_tokens=500_000, logprobs=20), is_stream=True).params.max_tokens == 500_000


@pytest.mark.parametrize("stream", [True, False])
def test_sixty_four_echoes_with_log_probabilities_are_a_400(server: HttpServer, stream: bool) -> None:
    body = {"prompt": [1] * 3000, "echo": True, "n": 64, "logprobs": 20, "max_tokens": 1, "stream": stream}
    refused = server.post(COMPLETIONS, body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "n"
    assert "max_answer_bytes" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("path", "entry"), [("completions", COMPLETION_ENTRY), ("chat", CHAT_ENTRY)])
def test_the_estimate_is_near_the_answer(server: HttpServer, path: str, entry: Any) -> None:
    if path == "chat":
        body = {"messages": [{"role": "user", "content": "the"}], "logprobs": True, "top_logprobs": 20}
    else:
        body = {"prompt": "the", "logprobs": 20}
    url = "/v1/chat/completions" if path == "chat" else COMPLETIONS
    answer = server.post(url, {**body, "max_tokens": 64, "ignore_eos": True, "seed": 1})
    estimate = 64 * (6 + entry.token + 20 * entry.alternative)
    assert estimate / 2 < len(answer.content) < estimate * 2


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_of_many_parts_is_that_of_few(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, n: int, stream: bool
) -> None:
    body = {"prompt": "th\u00e9 in " * 40, "echo": True, "n": n, "logprobs": 3, "max_tokens": 5, "seed": 7}

    def ask() -> Any:
        if not stream:
            return server.answer(COMPLETIONS, body)["choices"]
        joined: dict[int, list[Any]] = {i: ["", [], []] for i in range(n)}
        for event in server.events(COMPLETIONS, body):
            for choice in event["choices"]:
                kept = joined[choice["index"]]
                kept[0] += choice["text"]
                if choice["logprobs"]:
                    kept[1] += choice["logprobs"]["token_logprobs"]
                    kept[2] += choice["logprobs"]["text_offset"]
        return joined

    few = ask()
    monkeypatch.setattr("pararnn_server.http.stream.EVENTS_BYTES", 100)
    monkeypatch.setattr("pararnn_server.http.stream.ROWS_PER_EVENT", 3)
    monkeypatch.setattr("pararnn_server.http.formats.json_parts.filled", lambda parts: filled(parts, 100))
    assert ask() == few


def test_choices_share_the_rows_of_their_prompt(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("pararnn_server.http.formats.pieces.TokenEntry.__new__", _counting(made))
    body = {"prompt": [1] * 100, "echo": True, "n": 8, "logprobs": 2, "max_tokens": 1}
    assert len(server.answer(COMPLETIONS, body)["choices"]) == 8
    assert len(made) == 100 + 8


def _counting(made: list[int]) -> Any:
    make = tuple.__new__

    def new(cls: Any, *values: Any) -> Any:
        made.append(1)
        return make(cls, values)

    return new


def test_what_waits_is_counted_with_its_log_probabilities_until_it_has_left() -> None:
    async def run() -> None:
        queue = OutputQueue()
        row = Sampled(1, -1.0, tuple((i, -1.0) for i in range(20)))
        queue.put(0, Tokens(0, [1], b"a", [row], 1))
        one = queue.waiting_bytes
        assert one > 2000
        queue.put(0, PromptLogprobs([None, *[row] * 99]))
        assert queue.waiting_bytes > 90 * 2000
        before = queue.waiting_bytes
        await queue.take()
        assert queue.waiting_bytes == before
        queue.nudge()
        await queue.take()
        assert queue.waiting_bytes == 0

    asyncio.run(run())


def test_large_json_leaves_in_parts_between_which_others_run() -> None:
    async def run() -> tuple[list[Any], int]:
        sent: list[Any] = []
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def send(message: Any) -> None:
            sent.append(message)

        other = asyncio.ensure_future(count())
        await send_json(json_list(range(100_000)), {"type": "http", "headers": []}, send)
        other.cancel()
        return sent, turns

    sent, turns = asyncio.run(run())
    bodies = [message["body"] for message in sent[1:]]
    assert json.loads(b"".join(bodies)) == list(range(100_000))
    assert max(map(len, bodies)) < 2 * PART_BYTES
    assert turns >= len(bodies) - 3
    assert dict(sent[0]["headers"]) == {b"content-type": b"application/json"}


def test_parts_of_json_are_those_of_the_whole() -> None:
    for values in ([], [1], list(range(100)), [{"a": "\u00e9\U0001f600"}] * 40):
        assert json.loads("".join(json_list(values))) == values
    texts = ['a"', "\u00e9", "", "\\", "\U0001f600\n"]
    assert json.loads("".join(json_text(texts))) == "".join(texts)
    with pytest.raises(ValueError):
        list(json_list([math.nan]))


def test_tokens_of_a_long_text_are_those_of_its_parts(loaded: Loaded) -> None:
    text = "the th\u00e9 in\n" * 20_000
    with serving(loaded) as server:
        answer = server.answer("/tokenize", {"prompt": text, "return_token_strs": True})
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
        assert server.answer("/detokenize", {"tokens": answer["tokens"]})["prompt"] == text


def test_a_recorded_reply_streams_its_rows_in_small_events(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    body = {"prompt": "a", "session_id": session_id, "logprobs": 2, "max_tokens": 100, "ignore_eos": True}
    headers = {"idempotency-key": "rows"}
    first = server.http.post(COMPLETIONS, json=body, headers=headers).json()["choices"][0]
    response = server.http.post(COMPLETIONS, json={**body, "stream": True}, headers=headers)
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    choices = [choice for event in data for choice in json.loads(event)["choices"]]
    rows = [choice["logprobs"]["token_logprobs"] for choice in choices if choice["logprobs"]]
    assert max(map(len, rows)) <= 32
    assert list(chain.from_iterable(rows)) == first["logprobs"]["token_logprobs"]
    assert "".join(choice["text"] for choice in choices) == first["text"]
