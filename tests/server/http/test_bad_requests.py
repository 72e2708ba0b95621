"""Bad input: one clear 4xx that names the field, and the next request works."""

from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"
USER = [{"role": "user", "content": "a"}]

BAD_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": ["a", ""]}, "prompt"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": {"text": "a"}}, "prompt"),
    ({"prompt": [265]}, "prompt"),
    ({"prompt": [-1]}, "prompt.0"),
    ({"prompt": [2**70]}, "prompt.0"),
    ({"prompt": [1, True]}, "prompt.1"),
    ({"prompt": [1, "a"]}, "prompt.1"),
    ({"prompt": ["a"] * 300}, "prompt"),
    ({"prompt": "a", "surprise": 1}, "surprise"),
    ({"prompt": "a", "chat_template": "x"}, "chat_template"),
    ({"prompt": "a", "temperature": "0.5"}, "temperature"),
    ({"prompt": "a", "temperature": True}, "temperature"),
    ({"prompt": "a", "temperature": -0.1}, "temperature"),
    ({"prompt": "a", "top_p": 1.5}, "top_p"),
    ({"prompt": "a", "top_k": -2}, "top_k"),
    ({"prompt": "a", "top_k": 1.0}, "top_k"),
    ({"prompt": "a", "min_p": -0.1}, "min_p"),
    ({"prompt": "a", "repetition_penalty": 0}, "repetition_penalty"),
    ({"prompt": "a", "presence_penalty": 2.1}, "presence_penalty"),
    ({"prompt": "a", "frequency_penalty": -2.1}, "frequency_penalty"),
    ({"prompt": "a", "logit_bias": {"a": 1}}, "logit_bias.a"),
    ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"prompt": "a", "logit_bias": {"999": 1}}, "logit_bias"),
    ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 10**9}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 16.5}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 1, "max_output_tokens": 2}, "max_output_tokens"),
    ({"prompt": "a", "seed": 2**63}, "seed"),
    ({"prompt": "a", "stop": ""}, "stop"),
    ({"prompt": "a", "stop": ["a", ""]}, "stop.1"),
    ({"prompt": "a", "stop": ["a"] * 17}, "stop"),
    ({"prompt": "a", "stop_token_ids": [265]}, "stop_token_ids"),
    ({"prompt": "a", "stop_token_ids": [-1]}, "stop_token_ids.0"),
    ({"prompt": "a", "stop_token_ids": [1] * 4097}, "stop_token_ids"),
    ({"prompt": "a", "min_tokens": 17}, "min_tokens"),
    ({"prompt": "a", "prompt_logprobs": 21}, "prompt_logprobs"),
    ({"prompt": "a", "prompt_logprobs": -1}, "prompt_logprobs"),
    ({"prompt": "a", "prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"prompt": "a", "return_token_ids": 1}, "return_token_ids"),
    ({"prompt": "a", "min_tokens": -1}, "min_tokens"),
    ({"prompt": "a", "repeat_penalty": 0}, "repeat_penalty"),
    ({"prompt": "a", "repeat_penalty": 1.5, "repetition_penalty": 1.2}, "repeat_penalty"),
    ({"prompt": "a", "repeat_last_n": -2}, "repeat_last_n"),
    ({"prompt": "a", "bad_words": [""]}, "bad_words.0"),
    ({"prompt": "a", "bad_words": ["a"] * 257}, "bad_words"),
    ({"prompt": "a", "bad_words": "a"}, "bad_words"),
    ({"prompt": "a", "skip_special_tokens": 0}, "skip_special_tokens"),
    ({"prompt": "a", "n": 0}, "n"),
    ({"prompt": "a", "n": 65}, "n"),
    ({"prompt": "a", "logprobs": 21}, "logprobs"),
    ({"prompt": "a", "logprobs": True}, "logprobs"),
    ({"prompt": "a", "stream": "yes"}, "stream"),
    ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
    ({"prompt": "a", "stream": True, "stream_options": {"other": 1}}, "stream_options.other"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "service_tier": "flex"}, "service_tier"),
    ({"prompt": "a", "metadata": {"k": 1}}, "metadata.k"),
    ({"prompt": "a", "timeout": 0}, "timeout"),
    ({"prompt": "a", "timeout": 10**6}, "timeout"),
    ({"prompt": "a", "expected_turn": 1}, "expected_turn"),
    ({"prompt": "a", "session_id": "sess_x", "n": 2}, "n"),
    ({"prompt": "a", "session_id": "sess_x", "echo": True}, "echo"),
    ({"prompt": ["a"], "session_id": "sess_x"}, "prompt"),
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
    ({"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, "messages.0.tool_calls.0.id"),
    ({"messages": "a"}, "messages"),
    ({"messages": USER, "prompt": "a"}, "prompt"),
    ({"messages": USER, "tools": [{}]}, "tools.0.type"),
    ({"messages": USER, "tool_choice": "required"}, "tool_choice"),
    ({"messages": USER, "store": True}, "store"),
    ({"messages": USER, "response_format": {"type": "yaml"}}, "response_format.type"),
    ({"messages": USER, "modalities": ["audio"]}, "modalities.0"),
    ({"messages": USER, "reasoning_effort": "low"}, "reasoning_effort"),
    ({"messages": [{"role": "user", "content": "a", "name": "two words"}]}, "messages.0.name"),
    ({"messages": [{"role": "user", "content": "a", "phase": "x"}]}, "messages.0.phase"),
    ({"messages": USER, "chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ({"messages": USER, "chat_template_kwargs": {"bos_token": "x"}}, "chat_template_kwargs.bos_token"),
    ({"messages": USER, "chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs.a b"),
    ({"messages": USER, "chat_template_kwargs": {"a": "x" * 20000}}, "chat_template_kwargs"),
    ({"messages": USER, "chat_template_kwargs": {f"a{i}": 1 for i in range(65)}}, "chat_template_kwargs"),
    ({"messages": USER, "documents": [{"text": "x"}]}, "documents"),
    ({"messages": USER, "prompt_cache_options": {"mode": "off"}}, "prompt_cache_options.mode"),
    ({"messages": USER, "prompt_cache_options": {"ttl": "2h"}}, "prompt_cache_options.ttl"),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {}}]}
            ]
        },
        "messages.0.content.0.prompt_cache_breakpoint.mode",
    ),
    ({"messages": USER, "documents": [{"text": 1}]}, "documents.0.text"),
    ({"messages": USER, "continue_final_message": True}, "messages"),
    (
        {
            "messages": [*USER, {"role": "assistant", "content": "b"}],
            "continue_final_message": True,
            "add_generation_prompt": True,
        },
        "continue_final_message",
    ),
    ({"messages": USER, "n_predict": -2}, "n_predict"),
    ({"messages": USER, "audio": {}}, "audio"),
    ({"messages": USER, "logprobs": 1}, "logprobs"),
    ({"messages": USER, "top_logprobs": 1}, "top_logprobs"),
    ({"messages": USER, "chat_template": "x"}, "chat_template"),
]

BAD_OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": "a", "messages": USER}, "prompt"),
    ("/tokenize", {"messages": USER, "add_special_tokens": True}, "add_special_tokens"),
    ("/detokenize", {"tokens": [265]}, "tokens"),
    ("/detokenize", {}, "tokens"),
    ("/v1/sessions", {"text": ""}, "text"),
    ("/v1/sessions", {"text": "a", "tokens": [1]}, "tokens"),
    ("/v1/sessions", {"tokens": [265]}, "tokens"),
    ("/v1/sessions", {"ttl_seconds": 0}, "ttl_seconds"),
    ("/v1/sessions", {"pinned": True}, "pinned"),
]

CASES = [
    *((COMPLETIONS, body, param) for body, param in BAD_COMPLETIONS),
    *((CHAT, body, param) for body, param in BAD_CHATS),
    *BAD_OTHERS,
]

BAD_TEXTS: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"{", "body"),
    (b"[]", "body"),
    (b"null", "body"),
    (b'"prompt"', "body"),
    (b"{} {}", "body"),
    (b'{"prompt": "a",}', "body"),
    (b"\xef\xbb\xbf{}", "body"),
    (b'{"prompt": "\xff\xfe"}', "body"),
    (b'{"prompt": "\xc3"}', "body"),
    (b'{"prompt": "\\ud800"}', "body"),
    (b'{"prompt": ' + b"[" * 100_000, "body"),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "body"),
    (b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", "body"),
    (b'{"prompt": "a", "temperature": NaN}', "temperature"),
    (b'{"prompt": "a", "temperature": Infinity}', "temperature"),
    (b'{"prompt": "a", "temperature": 1e999}', "temperature"),
]

JSON = {"content-type": "application/json"}


def check_refused(server: HttpServer, response: Any, status: int, param: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert error["message"]
    assert response.headers["x-request-id"]
    assert server.complete("a", max_tokens=1)["choices"]


@pytest.mark.parametrize(("path", "body", "param"), CASES)
def test_bad_field_is_a_400_that_names_it(server: HttpServer, path: str, body: Any, param: str) -> None:
    check_refused(server, server.post(path, body), 400, param)


def _message(server: HttpServer, path: str, body: Any) -> str:
    return str(server.post(path, body).json()["error"]["message"])


def test_an_unknown_field_suggests_the_known_one_that_is_close(server: HttpServer) -> None:
    taken_out = "Unknown field 'max_token': take it out. Did you mean 'max_tokens'?"
    assert _message(server, COMPLETIONS, {"prompt": "a", "max_token": 1}) == taken_out
    part = {"messages": [{"role": "user", "contents": "a"}]}
    assert _message(server, CHAT, part).endswith(" Did you mean 'content'?")
    assert _message(server, RESPONSES, {"inputs": "a"}).endswith(" Did you mean 'input'?")
    assert _message(server, "/v1/sessions", {"meta_data": {}}).endswith(" Did you mean 'metadata'?")
    for far in ("surprise", "max_tokens" * 1000):
        assert _message(server, COMPLETIONS, {"prompt": "a", far: 1}).endswith(": take it out.")


def test_a_wrong_path_or_method_says_where_to_look(server: HttpServer) -> None:
    assert "/openapi.json" in server.get("/").json()["error"]["message"]
    message = server.get(COMPLETIONS).json()["error"]["message"]
    assert message == "GET is not allowed here: send POST."


def test_a_missing_session_is_explained_in_a_sentence(server: HttpServer) -> None:
    message = server.get("/v1/sessions/sess_x").json()["error"]["message"]
    assert message == "There is no session 'sess_x': it was deleted, has expired, or never existed."


@pytest.mark.parametrize(("body", "param"), BAD_TEXTS)
def test_bad_text_is_a_400(server: HttpServer, body: bytes, param: str) -> None:
    check_refused(server, server.http.post(COMPLETIONS, content=body, headers=JSON), 400, param)


def test_unknown_model_is_a_404(server: HttpServer) -> None:
    check_refused(server, server.post(COMPLETIONS, {"prompt": "a", "model": "other"}), 404, "model")
    check_refused(server, server.post(CHAT, {"messages": USER, "model": "other"}), 404, "model")
    check_refused(server, server.get("/v1/models/other"), 404, "model")


def test_unknown_session_is_a_404(server: HttpServer) -> None:
    body = {"prompt": "a", "session_id": "sess_x"}
    check_refused(server, server.post(COMPLETIONS, body), 404, "session_id")


def test_bad_query_is_a_400(server: HttpServer) -> None:
    for query, param in (("limit=0", "limit"), ("limit=x", "limit"), (f"after={'a' * 99}", "after")):
        check_refused(server, server.get(f"/v1/sessions?{query}"), 400, param)


@pytest.mark.parametrize("headers", [{"content-length": str(100 << 20)}, {}])
def test_hundred_megabytes_are_a_413_declared_or_not(server: HttpServer, headers: dict[str, str]) -> None:
    chunks = (bytes(1 << 18) for _ in range(400))
    response = server.http.post(COMPLETIONS, content=chunks, headers={**JSON, **headers})
    check_refused(server, response, 413, "body")


def test_prompt_longer_than_the_limit_is_a_400(loaded: Loaded) -> None:
    with serving(loaded, max_prompt_tokens=10, max_output_tokens=20) as server:
        check_refused(server, server.post(COMPLETIONS, {"prompt": [1] * 11}), 400, "prompt")
        check_refused(
            server, server.post(CHAT, {"messages": [{"role": "user", "content": "x" * 20}]}), 400, "messages"
        )
        check_refused(server, server.post("/v1/sessions", {"text": "x" * 20}), 400, "text")
        check_refused(server, server.post(COMPLETIONS, {"prompt": "a", "max_tokens": 21}), 400, "max_tokens")
        assert server.complete([1] * 10, max_tokens=20, ignore_eos=True)["usage"]["total_tokens"] == 30
        assert server.chat("a", ignore_eos=True)["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/octet-stream"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {},
    ],
)
def test_other_media_are_a_415(server: HttpServer, headers: dict[str, str]) -> None:
    response = server.http.post(COMPLETIONS, content=b'{"prompt": "a"}', headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "parameters",
    [";charset=utf8", "; charset=UTF-8", '; charset="utf-8"', ";charset=us-ascii", ";", "; profile=x"],
)
def test_json_in_any_spelling_of_utf_8_is_read(server: HttpServer, parameters: str) -> None:
    headers = {"content-type": f"Application/JSON{parameters}"}
    response = server.http.post(COMPLETIONS, content=b'{"prompt": "a", "max_tokens": 1}', headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_wrong_method_is_a_405_that_says_which(server: HttpServer, method: str) -> None:
    response = server.http.request(method, COMPLETIONS)
    assert response.status_code == 405
    assert response.headers["allow"] == "OPTIONS, POST"
    if method != "HEAD":
        assert response.json()["error"]["code"] == "method_not_allowed"


def test_allow_names_every_method_of_a_path(server: HttpServer) -> None:
    response = server.http.put("/v1/sessions/any")
    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/images", "/v1/models/tiny/", "/docs", "/v1/completions/"])
def test_unknown_path_is_a_404(server: HttpServer, path: str) -> None:
    response = server.post(path, {}) if "models" not in path else server.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


def test_large_body_is_read_like_a_small_one(server: HttpServer) -> None:
    text = "the thé in\n" * 30_000
    body = {"prompt": text}
    assert len(text) > 256 << 10
    ids = server.answer("/tokenize", body)["tokens"]
    assert server.answer("/detokenize", {"tokens": ids})["prompt"] == text
    refused = server.post("/detokenize", {"tokens": [*ids, 999]})
    check_refused(server, refused, 400, "tokens")


def test_more_messages_than_the_limit_are_a_400_and_as_many_are_read(loaded: Loaded) -> None:
    turns = [{"role": ("user", "assistant")[turn % 2], "content": "a"} for turn in range(6)]
    with serving(loaded, max_messages=5) as server:
        for path, field in ((CHAT, "messages"), ("/tokenize", "messages"), (RESPONSES, "input")):
            refused = server.post(path, {field: turns})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
            assert "at most 5" in refused.json()["error"]["message"]
            assert server.post(path, {field: turns[:5]}).status_code == 200


@pytest.mark.parametrize("asked", [2, 64])
def test_more_replies_than_can_ever_be_held_are_a_400(
    loaded: Loaded, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serve with two slots although more were requested, as on a machine with little memory."""
    monkeypatch.setattr("pararnn_server.models.startup.num_slots", lambda *_: 2)
    with serving(loaded, max_num_seqs=asked, max_queue=3) as server:
        body = {"prompt": ["a", "b", "c"], "max_tokens": 1}
        assert server.post(COMPLETIONS, body).status_code == 200
        refused = server.post(COMPLETIONS, {**body, "n": 2})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([*USER, {"role": "tool", "content": "4"}], "messages.1.tool_call_id"),
        ([*USER, {"role": "tool", "content": None, "tool_call_id": "a"}], "messages.1.content"),
        ([{"role": "user", "content": "4", "tool_call_id": "a"}], "messages.0.tool_call_id"),
        ([{"role": "user", "content": "4", "tool_calls": [CALL]}], "messages.0.tool_calls"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "messages.0.content"),
        ([{"role": "assistant"}], "messages.0.content"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages.0.tool_calls.0.type"),
        ([{"role": "function", "name": "f", "content": "4"}], "messages.0.role"),
        ([{"role": "assistant", "function_call": {"name": "f"}}], "messages.0.function_call"),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}],
            "messages.0.tool_calls.0.function.arguments",
        ),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}]}],
            "messages.0.tool_calls.0.function.arguments",
        ),
        ([*USER, {"role": "assistant", "tool_calls": [CALL]}], "messages.1.tool_calls"),
    ],
)
def test_messages_with_calls_are_refused_for_what_is_wrong_in_them(
    server: HttpServer, messages: list[dict[str, Any]], param: str
) -> None:
    """The last one is whole, but the template of this model shows no calls."""
    refused = server.post(CHAT, {"messages": messages})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_deprecated_functions_are_refused_for_tools(server: HttpServer) -> None:
    for field, value in (("functions", [{"name": "f"}]), ("function_call", "auto")):
        error = server.post(CHAT, {"messages": USER, field: value}).json()["error"]
        assert error["param"] == field
        assert "tools and tool_choice" in error["message"]


def test_effort_is_refused_because_the_model_has_no_reasoning(server: HttpServer) -> None:
    for path, body, param in (
        (CHAT, {"messages": USER, "reasoning_effort": "low"}, "reasoning_effort"),
        ("/v1/responses", {"input": "a", "reasoning": {"effort": "medium"}}, "reasoning.effort"),
    ):
        error = server.post(path, body).json()["error"]
        assert error["param"] == param
        assert "no reasoning" in error["message"]
