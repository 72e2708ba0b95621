"""/v1/responses: what is resumed, what is read again, what is stored, and the order of events."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pararnn_server.http.schemas.response_answers import (
    InputItemList,
    ModelResponse,
    ResponseDeleted,
    ResponseEvent,
)
from pararnn_server.models.loading import Loaded
from pararnn_server.responses import records
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.text.chat_prompt import ChatPrompts
from pydantic import TypeAdapter

from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

PATH = "/v1/responses"
SHORT: dict[str, Any] = {"max_output_tokens": 6, "seed": 3, "ignore_eos": True}
IMAGE = {"type": "input_image", "image_url": "x"}
KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}


def ask(server: HttpServer, given: Any, **fields: Any) -> dict[str, Any]:
    return server.answer(PATH, {**SHORT, "input": given, **fields})


def text_of(response: dict[str, Any]) -> str:
    [message] = response["output"]
    return "".join(part["text"] for part in message["content"])


def cached(response: dict[str, Any]) -> int:
    return int(response["usage"]["input_tokens_details"]["cached_tokens"])


def events(server: HttpServer, **fields: Any) -> list[dict[str, Any]]:
    """Data of every event, whose name is its type."""
    with server.http.stream("POST", PATH, json={**SHORT, **fields, "stream": True}) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    adapter = TypeAdapter(ResponseEvent)
    found = []
    for name, data in zip(lines[::2], lines[1::2], strict=True):
        event = adapter.validate_json(data.removeprefix("data: "))
        assert name == f"event: {event.type}"
        found.append(event.model_dump(exclude_unset=True))
    return found


@pytest.fixture
def fresh(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded) as server:
        yield server


def test_a_response_has_the_published_shape(server: HttpServer) -> None:
    recorded = {"user": "u", "metadata": {"k": "v"}, "safety_identifier": "s", "prompt_cache_key": "p"}
    response = ask(server, "the", **recorded, temperature=0.5, top_p=0.9, instructions="be")
    ModelResponse.model_validate(response)
    assert {name: response[name] for name in recorded} == recorded
    assert (response["temperature"], response["top_p"], response["instructions"]) == (0.5, 0.9, "be")
    assert (response["status"], response["max_output_tokens"]) == ("incomplete", 6)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == 6
    assert ask(server, "the", max_output_tokens=None, logit_bias={"262": 100}, ignore_eos=None)["status"] == (
        "completed"
    )


def test_a_response_is_the_chat_of_its_instructions_and_items(server: HttpServer) -> None:
    items = [
        {"role": "user", "content": "the"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "in"}]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": text} for text in "éx"],
        },
    ]
    response = ask(server, items, instructions="be brief")
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "the"},
        {"role": "assistant", "content": "in"},
        {"role": "user", "content": "éx"},
    ]
    chat = server.answer("/v1/chat/completions", {"messages": messages, **SHORT})
    assert text_of(response) == chat["choices"][0]["message"]["content"]
    assert response["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]


def test_a_response_is_retrieved_as_it_was_given_and_deleted_for_good(server: HttpServer) -> None:
    response = ask(server, "the")
    assert server.get(f"{PATH}/{response['id']}").json() == response
    deleted = server.http.delete(f"{PATH}/{response['id']}").json()
    ResponseDeleted.model_validate(deleted)
    for call in (server.get, server.http.delete):
        gone = call(f"{PATH}/{response['id']}")
        assert (gone.status_code, gone.json()["error"]["param"]) == (404, "response_id")
    refused = server.post(PATH, {"input": "x", "previous_response_id": response["id"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "previous_response_id")


def test_what_is_not_to_be_stored_is_not(server: HttpServer) -> None:
    first = ask(server, "the", store=False)
    assert server.get(f"{PATH}/{first['id']}").status_code == 404
    stored = ask(server, "the")
    second = ask(server, "more", store=False, previous_response_id=stored["id"])
    assert cached(second) > 0
    assert server.get(f"{PATH}/{second['id']}").status_code == 404
    assert text_of(second) == text_of(ask(server, "more", previous_response_id=stored["id"]))


@pytest.mark.parametrize("stream", [False, True])
def test_with_the_same_instructions_only_what_is_new_is_read(fresh: HttpServer, stream: bool) -> None:
    """However long the conversation is."""
    read, previous, total = [], None, 0
    for turn in range(12):
        fields = {"instructions": "be", "previous_response_id": previous, "seed": turn}
        if stream:
            response = events(fresh, input="and more", **fields)[-1]["response"]
        else:
            response = ask(fresh, "and more", **fields)
        usage = response["usage"]
        assert usage["input_tokens"] > total
        total = usage["input_tokens"] + usage["output_tokens"]
        read.append(usage["input_tokens"] - cached(response))
        previous = response["id"]
    assert len(set(read[1:])) == 1
    assert fresh.metric("pararnn_prompt_tokens_total") < 300


def test_a_resumed_response_says_what_the_session_would(server: HttpServer) -> None:
    first = ask(server, "the")
    second = ask(server, "more", previous_response_id=first["id"], seed=9)
    session = server.create_session()
    for text, seed in (("the", 3), ("more", 9)):
        chat = server.chat(text, session_id=session, max_tokens=6, ignore_eos=True, seed=seed)
    assert text_of(second) == chat["choices"][0]["message"]["content"]
    assert second["usage"]["input_tokens"] + 6 == chat["session"]["num_tokens"]


@pytest.mark.parametrize("instructions", [None, "other"])
def test_with_other_instructions_everything_is_read_again(
    fresh: HttpServer, instructions: str | None
) -> None:
    first = ask(fresh, "the", instructions="be brief and the inner thing")
    second = ask(fresh, "more", previous_response_id=first["id"], instructions=instructions)
    assert cached(second) <= 1
    said = [("user", "the"), ("assistant", text_of(first)), ("user", "more")]
    opening = [] if instructions is None else [("system", instructions)]
    whole = [{"role": role, "content": text} for role, text in [*opening, *said]]
    chat = fresh.answer("/v1/chat/completions", {"messages": whole, **SHORT})
    assert text_of(second) == chat["choices"][0]["message"]["content"]
    assert second["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert fresh.get(f"{PATH}/{second['id']}").json()["instructions"] == instructions


def test_responses_branch(server: HttpServer) -> None:
    """Two answers to one response neither see nor end each other; a deleted parent is not missed."""
    first = ask(server, "the")
    left = ask(server, "left", previous_response_id=first["id"])
    right = ask(server, "right", previous_response_id=first["id"])
    assert text_of(ask(server, "left", previous_response_id=first["id"])) == text_of(left)
    server.http.delete(f"{PATH}/{first['id']}")
    assert cached(ask(server, "on", previous_response_id=right["id"])) > 0
    refused = server.post(
        PATH, {**SHORT, "input": "on", "previous_response_id": right["id"], "instructions": "other"}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "history_gone")


def test_events_come_in_the_published_order_and_end_with_what_is_stored(server: HttpServer) -> None:
    found = events(server, input="the", max_output_tokens=12)
    kinds = [event["type"].removeprefix("response.") for event in found]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    text = "".join(event["delta"] for event in found[4:-4])
    last = found[-1]["response"]
    assert text == found[-4]["text"] == text_of(last)
    assert found[0]["response"]["status"] == "in_progress"
    assert found[-2]["item"] == last["output"][0]
    assert len({event["item_id"] for event in found if "item_id" in event} | {last["output"][0]["id"]}) == 1
    assert server.get(f"{PATH}/{last['id']}").json() == last
    assert text_of(ask(server, "the", max_output_tokens=12)) == text


def test_input_items_tell_the_conversation(server: HttpServer) -> None:
    first = ask(server, [{"role": "user", "content": "the"}, {"role": "user", "content": "inner"}])
    second = ask(server, "thing", previous_response_id=first["id"])
    path = f"{PATH}/{second['id']}/input_items"
    found = server.get(path, params={"order": "asc"}).json()
    InputItemList.model_validate(found)
    texts = [item["content"][0]["text"] for item in found["data"]]
    assert texts == ["the", "inner", text_of(first), "thing"]
    newest = server.get(path, params={"limit": 3}).json()
    assert newest["data"] == found["data"][:0:-1]
    assert newest["has_more"]
    rest = server.get(path, params={"limit": 3, "after": newest["last_id"]}).json()
    assert rest["data"] == found["data"][:1]
    assert server.get(path, params={"after": "msg_none"}).status_code == 400
    server.http.delete(f"{PATH}/{first['id']}")
    assert len(server.get(path).json()["data"]) == 1


FUNCTION = {"type": "function", "name": "f"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"input": [{"type": "web_search_call", "id": "c"}]}, "input.0.type"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "input"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}]},
            "input.0.arguments",
        ),
        ({"input": [{"type": "function_call_output", "output": "4"}]}, "input.0.call_id"),
        ({"tools": [FUNCTION]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        (
            {"input": [{"role": "user", "content": [IMAGE]}]},
            "input.0.content.0.image_url",
        ),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"session_id": "x"}, "session_id"),
        ({"n": 1}, "n"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"include": ["message.output_text.logprobs"]}, "include.0"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"max_output_tokens": "5"}, "max_output_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_is_not_supported_is_a_400_that_names_it(
    server: HttpServer, fields: dict[str, Any], param: str
) -> None:
    refused = server.post(PATH, {"input": "the", **fields})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param


NEUTRAL = {
    "background": False,
    "include": [],
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None, "summary": None},
    "truncation": "auto",
    "top_logprobs": 0,
    "service_tier": "auto",
}


def test_neutral_values_change_nothing(server: HttpServer) -> None:
    assert text_of(ask(server, "the", **NEUTRAL)) == text_of(ask(server, "the"))


def test_a_request_with_an_idempotency_key_is_answered_once(fresh: HttpServer) -> None:
    body = {**SHORT, "input": "the", "seed": None}
    headers = {"idempotency-key": "k1"}
    first = fresh.post(PATH, body, headers=headers).json()
    assert fresh.post(PATH, body, headers=headers).json() == first
    assert fresh.metric("pararnn_request_success_total") == 1
    streamed = fresh.post(PATH, {**body, "stream": True}, headers=headers).text
    assert streamed.count("event: ") == 9
    assert first["output"][0]["id"] in streamed
    other = fresh.post(PATH, {**body, "input": "other"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert fresh.post(PATH, {**body, "store": False}, headers=headers).status_code == 400


@pytest.mark.timeout(60)
def test_a_key_that_comes_again_after_its_response_was_deleted_makes_no_circle(fresh: HttpServer) -> None:
    body = {**SHORT, "input": "the"}
    first = fresh.post(PATH, body, headers={"idempotency-key": "K1"}).json()["id"]
    second = fresh.post(
        PATH, {**body, "previous_response_id": first}, headers={"idempotency-key": "K2"}
    ).json()["id"]
    assert fresh.http.delete(f"{PATH}/{first}").status_code == 200
    again = fresh.post(PATH, {**body, "previous_response_id": second}, headers={"idempotency-key": "K1"})
    assert again.json()["id"] not in (first, second)
    for one in (second, again.json()["id"]):
        assert fresh.get(f"{PATH}/{one}/input_items").status_code == 200
    other = fresh.post(PATH, {**body, "previous_response_id": again.json()["id"], "instructions": "be brief"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "history_gone")


def test_an_idempotency_key_of_a_running_response_is_a_409(fresh: HttpServer) -> None:
    body = {**ENDLESS, "input": "the", "stream": True}
    del body["prompt"]
    with fresh.http.stream("POST", PATH, json=body, headers={"idempotency-key": "k"}) as running:
        assert running.status_code == 200
        second = fresh.post(PATH, body, headers={"idempotency-key": "k"})
        assert (second.status_code, second.headers["x-should-retry"]) == (409, "false")


def test_a_client_that_leaves_leaves_nothing(fresh: HttpServer) -> None:
    body = {**ENDLESS, "input": "the", "stream": True}
    del body["prompt"]
    with connection(fresh, body, PATH) as client:
        assert b"200 OK" in client.recv(4096)
    eventually(lambda: fresh.busy_slots() == 0)
    eventually(lambda: fresh.metric("pararnn_sessions") == 0)
    ask(fresh, "the")
    assert fresh.metric("pararnn_sessions") == 1


def test_responses_are_no_sessions_and_no_other_keys(loaded: Loaded) -> None:
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with serving(loaded, api_keys=keys) as server:
        ada, bob = (
            httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=30)
            for key in KEYS.values()
        )
        with ada, bob:
            response = ada.post(PATH, json={"input": "the", **SHORT}).json()
            path = f"{PATH}/{response['id']}"
            assert ada.get("/v1/sessions").json()["data"] == []
            assert ada.get(f"/v1/sessions/{response['id']}").status_code == 404
            for foreign in (bob.get(path), bob.get(f"{path}/input_items"), bob.delete(path)):
                assert foreign.status_code == 404
            body = {"input": "x", "previous_response_id": response["id"]}
            assert bob.post(PATH, json=body).status_code == 404
            assert ada.get(path).json() == response


def test_a_response_expires_after_its_time(loaded: Loaded) -> None:
    with serving(loaded, response_ttl_seconds=0.4) as server:
        response = ask(server, "the")
        path = f"{PATH}/{response['id']}"
        eventually(lambda: server.get(path).status_code == 410)
        assert server.get(path).json()["error"]["code"] == "response_expired"


def test_a_timeout_keeps_nothing(fresh: HttpServer) -> None:
    body = {**ENDLESS, "input": "the", "timeout": 0.3}
    del body["prompt"]
    refused = fresh.post(PATH, body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "request_timeout")
    eventually(lambda: fresh.metric("pararnn_sessions") == 0)
    failed = events(fresh, input="the", max_output_tokens=100_000, timeout=0.5)[-1]
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "request_timeout"
    eventually(lambda: fresh.metric("pararnn_sessions") == 0)


def test_reference_to_an_item_reads_as_the_item_itself(server: HttpServer) -> None:
    """A client that keeps no text sends ids, of what it gave and of what it got."""
    first = ask(server, "the")
    question = {"role": "user", "content": "more"}
    [given] = server.get(f"{PATH}/{first['id']}/input_items").json()["data"]
    by_id = [
        {"type": "item_reference", "id": given["id"]},
        {"id": first["output"][0]["id"]},
        question,
    ]
    whole = [
        {"role": "user", "content": "the"},
        {"role": "assistant", "content": text_of(first)},
        question,
    ]
    named, spelled = ask(server, by_id), ask(server, whole)
    assert text_of(named) == text_of(spelled)
    assert named["usage"]["input_tokens"] == spelled["usage"]["input_tokens"]
    items = server.get(f"{PATH}/{named['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["the", text_of(first), "more"]


@pytest.mark.parametrize("name", ["msg_x", "msg_" + "0" * 32 + "_0", "rs_1", "_"])
def test_reference_that_names_no_stored_item_is_a_400(server: HttpServer, name: str) -> None:
    refused = server.post(PATH, {"input": [{"type": "item_reference", "id": name}]})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == ("input.0.id", "item_not_found")


def test_what_references_name_is_bounded_like_a_body(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each response is read once, however often and in which order its items are named."""
    reads: list[str] = []

    def load(ledger: Ledger, response_id: str, owner: str) -> records.StoredResponse:
        reads.append(response_id)
        return loads(ledger, response_id, owner)

    loads = records.load
    with serving(loaded, max_body_bytes=8192) as server:
        small, large = ask(server, "the"), ask(server, "a" * 3000)
        names = [
            {"type": "item_reference", "id": item["id"]}
            for response in (small, large)
            for item in server.get(f"{PATH}/{response['id']}/input_items").json()["data"]
        ]
        monkeypatch.setattr(records, "load", load)
        assert server.post(f"{PATH}/input_tokens", {"input": [names[0], names[1]] * 2}).status_code == 200
        assert reads == [small["id"], large["id"]]
        for path in (PATH, f"{PATH}/input_tokens"):
            refused = server.post(path, {"input": [names[0], names[1]] * 3})
            assert refused.status_code == 413
            assert refused.json()["error"]["param"] == "input.5.id"


def test_conversations_that_a_key_has_read_again_are_in_memory_one_at_a_time(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = [0], [0]
    encode = ChatPrompts.encode

    async def noting(self: ChatPrompts, messages: Any, *args: Any, **options: Any) -> Any:
        if len(messages) < 4:
            return await encode(self, messages, *args, **options)
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.02)
        ids = await encode(self, messages, *args, **options)
        running[0] -= 1
        return ids

    with serving(loaded) as server, ThreadPoolExecutor(4) as clients:
        last = ask(server, "the")["id"]
        monkeypatch.setattr(ChatPrompts, "encode", noting)
        body = {"input": "in", "instructions": "be", "previous_response_id": last}
        counts = [clients.submit(server.answer, f"{PATH}/input_tokens", body) for _ in range(4)]
        assert len({count.result()["input_tokens"] for count in counts}) == 1
    assert most == [1]


def test_items_of_another_key_and_of_responses_not_stored_are_named_by_nobody(loaded: Loaded) -> None:
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with serving(loaded, key=KEYS["ada"], api_keys=keys) as server:
        kept, gone = ask(server, "the"), ask(server, "the", store=False)
        bob = {"headers": {"authorization": f"Bearer {KEYS['bob']}"}}
        for response, options in ((kept, bob), (gone, {})):
            reference = {"type": "item_reference", "id": response["output"][0]["id"]}
            refused = server.post(PATH, {"input": [reference]}, **options)
            assert refused.json()["error"]["code"] == "item_not_found"


def test_reasoning_of_other_models_is_accepted_and_not_read(server: HttpServer) -> None:
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "gAAAA",
        "status": None,
    }
    asked = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "none", "summary": "auto"}}
    items = [{"role": "user", "content": "the"}]
    plain = ask(server, items)
    with_it = ask(server, [reasoning, *items], text={"verbosity": "medium"}, **asked)
    assert text_of(with_it) == text_of(plain)
    assert with_it["usage"]["input_tokens"] == plain["usage"]["input_tokens"]
    assert server.post(PATH, {"input": [reasoning]}).json()["error"]["param"] == "input"


def test_counted_input_tokens_are_those_of_the_response(server: HttpServer) -> None:
    first = ask(server, "the", instructions="be")
    for body in (
        {"input": "the", "instructions": "be"},
        {"input": "more", "previous_response_id": first["id"], "instructions": "be"},
        {"input": "more", "previous_response_id": first["id"]},
    ):
        counted = server.answer(f"{PATH}/input_tokens", {**body, "model": None, "tools": []})
        assert counted["object"] == "response.input_tokens"
        assert (
            counted["input_tokens"]
            == ask(server, **{"given": body.pop("input"), **body})["usage"]["input_tokens"]
        )
    assert server.post(f"{PATH}/input_tokens", {"input": "the", "stream": True}).status_code == 400


def test_stored_response_can_be_had_as_its_stream(server: HttpServer) -> None:
    streamed = events(server, input="the")
    stored = server.get(f"{PATH}/{streamed[-1]['response']['id']}", params={"stream": "true"})
    assert stored.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in stored.text.splitlines() if line.startswith("data: ")]
    assert told[-1]["response"] == streamed[-1]["response"]
    assert [event["type"] for event in told if "delta" not in event] == [
        event["type"] for event in streamed if "delta" not in event
    ]
    whole = server.get(f"{PATH}/{streamed[-1]['response']['id']}", params={"stream": "false"}).json()
    assert whole == streamed[-1]["response"]
