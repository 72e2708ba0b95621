"""The document is true: no 422, references resolve, answers are as described, and nothing makes a 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pararnn_server.app.app import create_app
from pararnn_server.http.error_response import is_of_messages
from pararnn_server.http.schemas.admin import Health, Ready
from pararnn_server.http.schemas.base import ResponseBody
from pararnn_server.http.schemas.chat import ChatChunk, ChatResponse
from pararnn_server.http.schemas.completions import CompletionChunk, CompletionResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.http.schemas.messages import MessageCount, MessageEvent, MessageResponse
from pararnn_server.http.schemas.models import Model, ModelInfo, ModelInfoList, ModelList
from pararnn_server.http.schemas.sessions import (
    AppendResponse,
    SessionBody,
    SessionDeleted,
    SessionDetail,
    SessionList,
)
from pararnn_server.http.schemas.tokens import DetokenizeResponse, TokenizeResponse, TokenizerInfo
from pararnn_server.models.loading import Loaded
from pararnn_server.settings.server_settings import Settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.http_server import HttpServer, serving

USER = [{"role": "user", "content": "the"}]
SHORT = {"max_tokens": 4, "seed": 1}


@pytest.fixture(scope="module")
def document(server: HttpServer) -> dict[str, Any]:
    value = server.get("/openapi.json").json()
    assert isinstance(value, dict)
    return value


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def test_422_stands_nowhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert '"422"' not in text
    assert "HTTPValidationError" not in text


def test_every_reference_resolves_and_every_schema_is_used(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references == names


def test_every_error_has_the_one_body_of_its_clients(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "500" in operation["responses"]
            for code, response in operation["responses"].items():
                if code >= "400":
                    schema = response["content"]["application/json"]["schema"]
                    # The head of a request is refused before its path is known.
                    name = "MessageError" if is_of_messages(path) and code != "431" else "ErrorBody"
                    assert schema == {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_stream_may_end_with_an_error(document: dict[str, Any], path: str) -> None:
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    assert {"$ref": "#/components/schemas/ErrorBody"} in content["text/event-stream"]["schema"]["anyOf"]


def check(model: type[ResponseBody], value: Any) -> None:
    """The models are what the document is made of; they forbid what they do not name."""
    model.model_validate_json(json.dumps(value))


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/completions", CompletionResponse, {"prompt": "the", "echo": True, "logprobs": 2, "user": "u"}),
        ("/v1/completions", CompletionResponse, {"prompt": ["a", "b"], "n": 2, "metadata": {"k": "v"}}),
        ("/v1/chat/completions", ChatResponse, {"messages": USER, "logprobs": True, "top_logprobs": 2}),
        ("/v1/messages", MessageResponse, {"messages": USER, "system": "the"}),
    ],
)
def test_whole_answers_are_as_described(
    server: HttpServer, path: str, model: type[ResponseBody], body: dict[str, Any]
) -> None:
    check(model, server.answer(path, body | SHORT))


@pytest.mark.parametrize("options", [{}, {"include_usage": True}, {"continuous_usage_stats": True}])
@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/completions", CompletionChunk, {"prompt": "the", "logprobs": 2, "echo": True, "user": "u"}),
        ("/v1/chat/completions", ChatChunk, {"messages": USER, "logprobs": True, "top_logprobs": 1}),
    ],
)
def test_chunks_are_as_described(
    server: HttpServer, path: str, model: type[ResponseBody], body: dict[str, Any], options: dict[str, bool]
) -> None:
    for event in server.events(path, body | SHORT | {"stream_options": options}):
        check(model, event)


def test_session_answers_are_as_described(server: HttpServer) -> None:
    created = server.answer("/v1/sessions", {"text": "the", "metadata": {"k": "v"}})
    path, turn = f"/v1/sessions/{created['id']}", {"session_id": created["id"], **SHORT}
    check(SessionBody, created)
    check(AppendResponse, server.answer(f"{path}/append", {"text": "in"}))
    check(CompletionResponse, server.complete("in", **turn))
    for event in server.events("/v1/chat/completions", {"messages": USER, **turn}):
        check(ChatChunk, event)
    check(SessionBody, server.post(f"{path}/cancel").json())
    check(SessionDetail, server.get(path).json())
    check(SessionList, server.get("/v1/sessions").json())
    check(SessionDeleted, server.http.delete(path).json())
    check(ErrorBody, server.get(path).json())


def test_other_answers_are_as_described(server: HttpServer) -> None:
    check(ModelList, server.get("/v1/models").json())
    check(Model, server.get("/v1/models/tiny").json())
    asks = {"anthropic-version": "2023-06-01"}
    check(ModelInfoList, server.get("/v1/models", headers=asks).json())
    check(ModelInfo, server.get("/v1/models/tiny", headers=asks).json())
    check(MessageCount, server.answer("/v1/messages/count_tokens", {"messages": USER}))
    check(TokenizerInfo, server.get("/tokenizer_info").json())
    check(TokenizeResponse, server.answer("/tokenize", {"prompt": "a", "return_token_strs": True}))
    check(DetokenizeResponse, server.answer("/detokenize", {"tokens": [1]}))
    check(Health, server.get("/health").json())
    check(Ready, server.get("/ready").json())


@pytest.fixture(scope="module")
def limited(loaded: Loaded) -> Iterator[HttpServer]:
    """Serve with small limits, so that every request ends soon."""
    with serving(loaded, max_output_tokens=8, request_timeout_seconds=5.0, max_sessions=50) as server:
        yield server


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DESCRIBED = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
# Schemathesis reads an answer to its end, and this stream has none.
# The tests of its route hold its events to the schema.
ENDLESS_STREAM = "GET /v1/monitor"
OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in DESCRIBED.get_all_operations())
    if operation.label != ENDLESS_STREAM
}


CHUNKS = {
    "POST /v1/completions": CompletionChunk,
    "POST /v1/chat/completions": ChatChunk,
    "POST /v1/messages": MessageEvent,
}


def applies(check: Any, response: Any) -> bool:
    """Leave out cases that Schemathesis misreads, and the 504 of a request with a short `timeout`.

    It reads an event as an object of name and data, which no schema of ours is. `check_events` and
    test_responses.py hold events to their schemas.
    """
    if check is not_a_server_error and response.status_code == 504:
        return False
    return check is not response_schema_conformance or not is_stream(response)


def is_stream(response: Any) -> bool:
    return str(response.headers.get("content-type", [""])[0]).startswith("text/event-stream")


def check_events(label: str, content: bytes) -> None:
    for line in content.decode().splitlines():
        if label in CHUNKS and line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            failed = "error" in event and "type" not in event
            check(ErrorBody if failed else CHUNKS[label], event)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_makes_a_server_error(limited: HttpServer, label: str, mode: GenerationMode) -> None:
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
    def attempt(case: Case) -> None:
        response = case.call(base_url=limited.url)
        case.validate_response(response, checks=[each for each in CHECKS if applies(each, response)])
        if is_stream(response):
            check_events(label, response.content)

    try:
        attempt()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
    assert limited.get("/ready").status_code == 200
