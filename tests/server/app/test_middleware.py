"""Middleware of every request: its log line, and an answer to unexpected errors."""

import json
import logging
from typing import Any

import pytest

from tests.server.http_server import ENDLESS, HttpServer, connection, eventually


def lines(caplog: pytest.LogCaptureFixture, words: str = "") -> list[str]:
    """Return the log lines of answered requests that contain `words`. A line follows its answer."""
    messages = [record.getMessage() for record in caplog.records if record.name == "pararnn.access"]
    return [message for message in messages if words in message]


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pararnn.access")


def test_fault_of_ours_is_a_500_whose_reason_is_in_the_log(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret")

    assert len(server.service.models)
    monkeypatch.setattr(server.service.models.get().sessions, "ask", fail)
    response = server.get("/v1/sessions", headers={"x-request-id": "find-me"})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text
    assert (response.headers["x-request-id"], response.headers["x-should-retry"]) == ("find-me", "false")
    [fault] = [record for record in caplog.records if record.name == "pararnn.error"]
    assert "find-me" in fault.getMessage()
    assert fault.exc_info is not None
    assert str(fault.exc_info[1]) == "a secret"
    assert server.get("/health").status_code == 200


def test_every_request_is_one_line(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    server.get("/v1/models", headers={"x-request-id": "one"})
    server.post("/v1/completions", {"prompt": ""}, headers={"x-request-id": "two"})
    eventually(lambda: lines(caplog, "id=one") and lines(caplog, "id=two"))
    [first], [second] = lines(caplog, "id=one"), lines(caplog, "id=two")
    assert first.startswith("GET /v1/models 200 ")
    assert second.startswith("POST /v1/completions 400 ")


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_left_is_a_499_in_the_log(
    server: HttpServer, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    with connection(server, {**ENDLESS, "stream": stream}):
        eventually(lambda: server.busy_slots() == 1)
    eventually(lambda: lines(caplog, "POST /v1/completions 499 "))


def test_failure_in_mid_stream_is_logged_with_its_own_status(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    body = {**ENDLESS, "stream": True, "timeout": 0.3}
    with server.http.stream("POST", "/v1/completions", json=body) as response:
        response.read()
    eventually(lambda: lines(caplog, "POST /v1/completions 504 "))


def test_recorded_fields_are_logged(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    recorded = {"user": "line\nbreak", "metadata": {"k": "v"}}
    body = {"prompt": "a", "max_tokens": 1, **recorded}
    server.post("/v1/completions", body, headers={"x-request-id": "noted"})
    eventually(lambda: lines(caplog, "id=noted "))
    [line] = lines(caplog, "id=noted ")
    assert "\n" not in line
    assert json.loads(line.partition("recorded=")[2]) == recorded


def test_empty_fields_are_left_out_of_the_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    server.get("/v1/models", headers={"x-request-id": "plain"})
    eventually(lambda: lines(caplog, "id=plain"))
    assert lines(caplog, "id=plain")[0].endswith(" id=plain")


def test_no_request_can_write_a_line_of_its_own(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    server.get("/a%0aGET%20/forged%20200", headers={"x-request-id": "forger"})
    eventually(lambda: lines(caplog, "id=forger"))
    assert len(lines(caplog, "id=forger")[0].splitlines()) == 1
