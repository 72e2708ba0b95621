"""A conversation's state as an item of the client: exact, bound to its owner, and stored nowhere."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from pararnn_server.http.schemas.response_answers import CompactedResponse, ModelResponse
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

PATH, COMPACT = "/v1/responses", "/v1/responses/compact"
SHORT: dict[str, Any] = {"max_output_tokens": 6, "seed": 3, "ignore_eos": True}
KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}
COMPACTS = [{"type": "compaction"}]
USER = {"role": "user", "content": "the"}
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secrets") / "secrets"
    file.write_text("n" * 40 + "\n")
    return file


@pytest.fixture(scope="module")
def first(loaded: Loaded, secrets_file: Path) -> Iterator[HttpServer]:
    with serving(loaded, seal_secret_file=secrets_file) as server:
        yield server


@pytest.fixture(scope="module")
def second(loaded: Loaded, secrets_file: Path) -> Iterator[HttpServer]:
    with serving(loaded, seal_secret_file=secrets_file) as server:
        yield server


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def item_of(server: HttpServer, **fields: Any) -> dict[str, Any]:
    answer = server.answer(COMPACT, fields)
    CompactedResponse.model_validate(answer)
    assert answer["object"] == "response.compaction"
    [item] = answer["output"]
    return dict(item)


def ask(server: HttpServer, given: Any, **fields: Any) -> dict[str, Any]:
    return server.answer(PATH, {**SHORT, "input": given, "store": False, **fields})


def letters(server: HttpServer) -> dict[str, Any]:
    """Fields with which a reply is text whose ids are those that were drawn."""
    ids = server.answer("/tokenize", {"prompt": "abcdwxyz", "add_special_tokens": False})["tokens"]
    return {**SHORT, "temperature": 2.0, "logit_bias": {str(token): 100 for token in ids}}


def refused(server: HttpServer, path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    answer = server.post(path, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return error


def test_two_servers_without_a_store_equal_one_session(first: HttpServer, second: HttpServer) -> None:
    servers = [first, second]
    session, fields = first.create_session(), letters(first)
    item: dict[str, Any] | None = None
    for turn, question in enumerate(["the thé", "and", "inner thing", "more"]):
        body = {"messages": [{"role": "user", "content": question}], "session_id": session, **fields}
        expected = first.answer("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        given = [*([item] if item else []), {"role": "user", "content": question}]
        reply = ask(servers[turn % 2], given, **fields)
        assert text_of(reply) == expected
        assert "build_changed" not in reply
        item = item_of(servers[(turn + 1) % 2], input=[*given, said(text_of(reply))])
    for server in servers:
        assert server.get("/v1/sessions").json()["totals"]["host"]["sessions"] <= 1


def test_a_stored_response_after_an_item_equals_the_session(first: HttpServer) -> None:
    """Sixty draws at a high temperature follow every bit of the logits closely."""
    session, fields = first.create_session(), letters(first)
    chat = {"messages": [USER], "session_id": session, **fields}
    reply = first.answer("/v1/chat/completions", chat)["choices"][0]["message"]["content"]
    item, follow = item_of(first, input=[USER, said(reply)]), [{"role": "user", "content": "and"}]
    longer = {**SHORT, "temperature": 1.5, "max_output_tokens": 60}
    stored = first.answer(PATH, {**longer, "input": [item, *follow]})
    expected = first.answer("/v1/chat/completions", {"messages": follow, "session_id": session, **longer})
    assert text_of(stored) == expected["choices"][0]["message"]["content"]
    again = first.answer(PATH, {**SHORT, "input": "more", "previous_response_id": stored["id"]})
    session_again = {"messages": [{"role": "user", "content": "more"}], "session_id": session, **SHORT}
    expected = first.answer("/v1/chat/completions", session_again)
    assert text_of(again) == expected["choices"][0]["message"]["content"]


def test_usage_counts_the_conversation_and_what_was_not_read(first: HttpServer) -> None:
    whole = first.answer(COMPACT, {"input": [USER, said("inner")]})
    count = whole["usage"]["input_tokens"]
    assert whole["usage"]["output_tokens"] == 0
    assert count > 2
    reply = ask(first, [whole["output"][0], {"role": "user", "content": "and"}])
    assert reply["usage"]["input_tokens_details"]["cached_tokens"] == count
    counted = first.answer(f"{PATH}/input_tokens", {"input": [whole["output"][0], USER]})
    assert counted["input_tokens"] > count


def test_a_stored_response_is_compacted_without_reading_it(first: HttpServer) -> None:
    response = first.answer(PATH, {**SHORT, "input": "the", "instructions": "be"})
    answer = first.answer(COMPACT, {"previous_response_id": response["id"]})
    details = answer["usage"]["input_tokens_details"]
    # The last id of the reply is not in the state yet.
    assert details["cached_tokens"] == answer["usage"]["input_tokens"] - 1
    follow = {"role": "user", "content": "and"}
    resumed = ask(first, [answer["output"][0], follow], instructions="be")
    expected = {**SHORT, "input": [follow], "previous_response_id": response["id"], "instructions": "be"}
    assert text_of(resumed) == text_of(first.answer(PATH, expected))


def test_compacting_an_item_with_what_followed_equals_compacting_all(first: HttpServer) -> None:
    talk = [USER, said("inner"), {"role": "user", "content": "and"}, said("thing")]
    whole, parts = (
        item_of(first, input=talk),
        item_of(first, input=[item_of(first, input=talk[:2]), *talk[2:]]),
    )
    again = item_of(first, input=[parts])
    assert (
        len({text_of(ask(first, [item, USER], max_output_tokens=40)) for item in (whole, parts, again)}) == 1
    )


def test_a_conversation_that_awaits_a_reply_gets_it_from_the_item_alone(first: HttpServer) -> None:
    item = item_of(first, input=[USER])
    assert text_of(ask(first, [item])) == text_of(ask(first, [USER]))
    error = refused(first, PATH, {"input": [item, said("inner")]})
    assert (error["param"], error["code"]) == ("input", "compaction_mismatch")


def test_streams_resume_too(first: HttpServer) -> None:
    item = item_of(first, input=[USER, said("inner")])
    body = {**SHORT, "input": [item, USER], "store": False}
    with first.http.stream("POST", PATH, json={**body, "stream": True}) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(first.answer(PATH, body))


def test_nothing_is_stored(first: HttpServer) -> None:
    before = first.metric("pararnn_sessions")
    item = item_of(first, input=[USER, said("inner")])
    ask(first, [item, USER])
    assert first.metric("pararnn_sessions") == before


def test_a_stored_response_after_an_item_says_what_is_gone(first: HttpServer) -> None:
    item = item_of(first, input=[USER, said("inner")])
    response = first.answer(PATH, {**SHORT, "input": [item, USER]})
    listed = first.get(f"{PATH}/{response['id']}/input_items").json()["data"]
    assert [entry["type"] for entry in listed] == ["message"]
    follow = {"input": "more", "previous_response_id": response["id"], **SHORT}
    assert first.post(PATH, follow).status_code == 200
    error = refused(first, PATH, {**follow, "instructions": "other"})
    assert error["code"] == "history_gone"


@pytest.mark.parametrize("fields", [{"instructions": "other"}, {"tools": [TOOL]}, {}])
def test_instructions_and_tools_must_be_those_of_the_state(first: HttpServer, fields: dict[str, Any]) -> None:
    item = item_of(first, input=[USER, said("inner")], instructions="be")
    right = {"instructions": "be", "input": [item, USER], **SHORT}
    assert first.post(PATH, right).status_code == 200
    wrong = {**right, **fields} if fields else {"input": [item, USER], **SHORT}
    error = refused(first, PATH, wrong)
    assert error["param"] == ("tools" if "tools" in fields else "instructions")
    assert error["code"] == "compaction_mismatch"
    # A compaction inherits what it leaves out.
    assert first.post(COMPACT, {"input": [item]}).status_code == 200
    if fields:
        refused(first, COMPACT, {"input": [item], **fields})


def test_what_stands_before_an_item_and_a_second_item_are_named(first: HttpServer) -> None:
    item = item_of(first, input=[USER, said("inner")])
    error = refused(first, PATH, {"input": [USER, said("inner"), item, USER]})
    assert "input.0 to input.1" in error["message"]
    assert error["param"] == "input.0"
    assert refused(first, PATH, {"input": [item, USER, item]})["param"] == "input.2"
    body = {"input": [item, USER], "previous_response_id": "resp_0"}
    assert refused(first, PATH, body)["param"] == "previous_response_id"
    assert refused(first, COMPACT, {})["param"] == "input"


def test_an_item_of_another_key_is_refused_in_the_words_of_a_changed_one(
    loaded: Loaded, secrets_file: Path
) -> None:
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with serving(loaded, api_keys=keys, seal_secret_file=secrets_file) as server:

        def post(name: str, path: str, body: dict[str, Any]) -> httpx.Response:
            return server.http.post(path, json=body, headers={"x-api-key": KEYS[name]})

        [item] = post("ada", COMPACT, {"input": [USER, said("inner")]}).json()["output"]
        text = item["encrypted_content"]
        changed = {**item, "encrypted_content": text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]}
        assert post("ada", PATH, {"input": [item, USER], **SHORT}).status_code == 200
        for path in (PATH, COMPACT, f"{PATH}/input_tokens"):
            foreign = post("bob", path, {"input": [item, USER]})
            assert foreign.status_code == 400
            assert foreign.json()["error"]["code"] == "invalid_compaction"
            assert foreign.json() == post("ada", path, {"input": [changed, USER]}).json()


def test_a_server_without_the_secret_says_so(first: HttpServer, server: HttpServer) -> None:
    item = item_of(first, input=[USER, said("inner")])
    error = refused(server, PATH, {"input": [item, USER]})
    assert error["code"] == "invalid_compaction"
    assert "--seal-secret-file" in error["message"]


def test_retired_secrets_open_until_they_are_taken_out(
    first: HttpServer, loaded: Loaded, tmp_path: Path
) -> None:
    item = item_of(first, input=[USER, said("inner")])
    both = tmp_path / "both"
    both.write_text("r" * 40 + "\n" + "n" * 40 + "\n")
    with serving(loaded, seal_secret_file=both) as rotated:
        newer = item_of(rotated, input=[item])
        assert rotated.post(PATH, {"input": [newer, USER], **SHORT}).status_code == 200
    assert first.post(PATH, {"input": [newer, USER], **SHORT}).status_code == 400


def test_an_expired_item_is_refused(loaded: Loaded, secrets_file: Path) -> None:
    with serving(loaded, seal_secret_file=secrets_file, compaction_ttl_seconds=0.001) as server:
        item = item_of(server, input=[USER, said("inner")])
        assert refused(server, PATH, {"input": [item, USER]})["code"] == "compaction_expired"


def test_a_state_above_the_limit_names_the_export(loaded: Loaded, first: HttpServer) -> None:
    with serving(loaded, max_compaction_bytes=1024) as server:
        error = refused(server, COMPACT, {"input": [USER]})
        assert error["code"] == "compaction_too_large"
        assert "/v1/sessions/{id}/state" in error["message"]
        item = item_of(first, input=[USER, said("inner")])
        assert refused(server, PATH, {"input": [item, USER]})["code"] == "compaction_too_large"


@pytest.mark.parametrize("text", ["x", "A" * 4000, "=" * 40, "\u0000", base64.b64encode(b"\1" * 90).decode()])
def test_any_other_text_is_a_400(first: HttpServer, text: str) -> None:
    error = refused(first, PATH, {"input": [{"type": "compaction", "encrypted_content": text}, USER]})
    assert error["param"] == "input.0.encrypted_content"
    assert error["code"] == "invalid_compaction"


def test_the_openai_client_compacts_unmodified(first: HttpServer) -> None:
    with OpenAI(base_url=f"{first.url}/v1", api_key="none", max_retries=0) as client:
        response = client.responses.create(model="tiny", input="the", max_output_tokens=6)
        compacted = client.responses.compact(model="tiny", previous_response_id=response.id)
        [item] = compacted.output
        assert item.type == "compaction"
        given: Any = [item.model_dump(), {"role": "user", "content": "and"}]
        follow = client.responses.create(model="tiny", input=given, store=False, max_output_tokens=6)
        assert follow.usage is not None
        assert follow.usage.input_tokens_details.cached_tokens > 0
        assert compacted.usage.input_tokens < follow.usage.input_tokens


def text_and_item(response: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text of a response that ends with a compaction, and that item."""
    *said, item = response["output"]
    assert item["type"] == "compaction"
    return text_of({"output": said}), item


@pytest.mark.parametrize("stores", [True, False])
def test_items_of_replies_equal_one_session_for_any_text(
    first: HttpServer, second: HttpServer, stores: bool
) -> None:
    servers, session = [first, second], first.create_session()
    fields = {**SHORT, "temperature": 1.5, "stop": ["e"], "store": stores, "context_management": COMPACTS}
    given: list[dict[str, Any]] = []
    for turn in range(8):
        question = {"role": "user", "content": f"the {turn}"}
        chat = {**SHORT, "temperature": 1.5, "stop": ["e"], "messages": [question], "session_id": session}
        expected = first.answer("/v1/chat/completions", chat)["choices"][0]["message"]["content"]
        response = servers[turn % 2].answer(PATH, {**fields, "input": [*given, question]})
        ModelResponse.model_validate(response)
        text, item = text_and_item(response)
        assert text == expected
        given = [item]


def test_a_short_conversation_is_not_compacted(first: HttpServer) -> None:
    above = [{"type": "compaction", "compact_threshold": 1000}]
    assert [item["type"] for item in ask(first, "the", context_management=above)["output"]] == ["message"]


def test_a_stream_ends_with_the_item(first: HttpServer) -> None:
    body = {**SHORT, "input": "the", "stream": True, "context_management": COMPACTS}
    with first.http.stream("POST", PATH, json=body) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    added, done, last = events[-3:]
    assert [added["type"], done["type"]] == ["response.output_item.added", "response.output_item.done"]
    assert added["output_index"] == done["output_index"] == 1
    assert last["response"]["output"][1] == done["item"]
    stored = first.get(f"{PATH}/{last['response']['id']}").json()
    assert stored == last["response"]
    follow = {"previous_response_id": stored["id"], "input": "more", **SHORT}
    resumed = first.answer(PATH, {**SHORT, "input": [done["item"], {"role": "user", "content": "more"}]})
    assert text_of(first.answer(PATH, follow)) == text_of(resumed)
    # Its items are read again without the state among them.
    assert first.post(PATH, {**follow, "instructions": "other"}).status_code == 200
