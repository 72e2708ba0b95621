from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pararnn_client
import pytest
from pararnn_client import ConnectionFailed, InvalidReply, NotFound, StatusError, StreamFailed, Usage
from pararnn_client.calls import append_to_session

from tests.client.driver import KINDS, Driver, Handler

SESSION = {
    "id": "s1",
    "object": "session",
    "model": "tiny",
    "created_at": 10,
    "last_used_at": 11,
    "num_tokens": 3,
    "turn": 1,
    "state_bytes": 4096,
    "metadata": {"who": "me"},
    "expires_at": None,
    "a_field_of_tomorrow": True,
}
REPLY = {
    "id": "c1",
    "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}},
}
Make = Callable[..., Driver]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    drivers: list[Driver] = []

    def build(handler: Handler, **options: object) -> Driver:
        drivers.append(Driver(request.param, handler, **options))  # type: ignore[arg-type]  # passed through
        return drivers[-1]

    yield build
    for driver in drivers:
        driver.close()


class Recorder:
    """Answers every request with the same body and remembers the requests."""

    def __init__(self, body: object) -> None:
        self.requests: list[httpx.Request] = []
        self._body = body

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=self._body)

    @property
    def sent(self) -> tuple[str, str, object]:
        (request,) = self.requests
        target = request.url.raw_path.decode()
        return request.method, target, json.loads(request.content) if request.content else None


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (
            lambda s: s.create(text="hi", ttl_seconds=5),
            ("POST", "/v1/sessions", {"text": "hi", "ttl_seconds": 5}),
        ),
        (lambda s: s.get("a/b"), ("GET", "/v1/sessions/a%2Fb", None)),
        (
            lambda s: s.append("x", tokens=[1, 2], expected_turn=0, timeout=2.5),
            ("POST", "/v1/sessions/x/append", {"tokens": [1, 2], "expected_turn": 0, "timeout": 2.5}),
        ),
        (lambda s: s.cancel("x"), ("POST", "/v1/sessions/x/cancel", {})),
        (lambda s: s.delete("x"), ("DELETE", "/v1/sessions/x", None)),
    ],
)
def test_session_calls_send_exactly_what_was_given(
    make: Make, use: Callable[..., object], expected: tuple[str, str, object]
) -> None:
    server = Recorder(SESSION)
    make(server).do(lambda client: use(client.sessions))
    assert server.sent == expected


def test_generation_names_the_session_and_passes_every_other_field(make: Make) -> None:
    server = Recorder(REPLY)
    reply = make(server).do(lambda client: client.sessions.generate("s1", "more", max_tokens=7, seed=3))
    assert server.sent == (
        "POST",
        "/v1/completions",
        {"prompt": "more", "session_id": "s1", "max_tokens": 7, "seed": 3},
    )
    assert (reply.text, reply.finish_reason) == ("hello", "stop")
    assert reply.usage == Usage(prompt_tokens=2, completion_tokens=1, cached_tokens=1)


def test_a_session_keeps_unknown_fields_in_raw(make: Make) -> None:
    session = make(Recorder(SESSION)).do(lambda client: client.sessions.get("s1"))
    assert (session.id, session.state_bytes, session.expires_at) == ("s1", 4096, None)
    assert session.raw["a_field_of_tomorrow"] is True


def test_pages_of_sessions_are_asked_for_by_limit_and_last_id(make: Make) -> None:
    server = Recorder({"data": [SESSION], "has_more": True})
    page = make(server).do(lambda client: client.sessions.list(limit=1, after="s0"))
    assert server.sent[1] == "/v1/sessions?limit=1&after=s0"
    assert [session.id for session in page.data] == ["s1"]
    assert page.has_more


def test_the_key_goes_as_a_bearer_token(make: Make) -> None:
    server = Recorder(SESSION)
    make(server, api_key="secret").do(lambda client: client.sessions.get("s1"))
    assert server.requests[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (404, "NotFound"),
        (409, "Conflict"),
        (410, "Expired"),
        (413, "BadRequest"),
        (429, "TooManyRequests"),
        (500, "ServerFailed"),
        (503, "ServerFailed"),
    ],
)
def test_each_status_is_its_error_with_the_servers_words(make: Make, status: int, kind: str) -> None:
    body = {"error": {"message": "no such", "type": "t", "param": "prompt", "code": "c"}}
    headers = {"x-request-id": "r1", "x-should-retry": "false", "retry-after": "3"}
    driver = make(lambda request: httpx.Response(status, json=body, headers=headers))
    with pytest.raises(getattr(pararnn_client, kind)) as caught:
        driver.do(lambda client: client.models())
    error = caught.value
    assert (str(error), error.status, error.param, error.code) == ("no such", status, "prompt", "c")
    assert (error.request_id, error.should_retry, error.retry_after) == ("r1", False, 3.0)


def test_an_error_without_the_usual_body_is_still_a_status_error(make: Make) -> None:
    driver = make(lambda request: httpx.Response(502, text="<html>bad gateway"), retries=0)
    with pytest.raises(StatusError, match="502"):
        driver.do(lambda client: client.models())


def test_an_answer_that_is_no_json_says_where_it_came_from(make: Make) -> None:
    driver = make(lambda request: httpx.Response(200, text="<html>hello"))
    with pytest.raises(InvalidReply, match="/v1/models"):
        driver.do(lambda client: client.models())


def test_a_full_queue_is_tried_again_and_then_succeeds(make: Make) -> None:
    answers = [httpx.Response(429, json={}), httpx.Response(503, json={}), httpx.Response(200, json=SESSION)]
    driver = make(lambda request: answers.pop(0))
    session = driver.do(lambda client: client.sessions.append("s1", text="x"))
    assert session.id == "s1"
    assert not answers


def test_a_lost_answer_to_a_write_is_not_sent_twice(make: Make) -> None:
    tries = []

    def lose(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        raise httpx.ReadError("gone")

    driver = make(lose)
    with pytest.raises(ConnectionFailed) as caught:
        driver.do(lambda client: client.sessions.append("s1", text="x"))
    assert caught.value.request_sent
    assert len(tries) == 1


def test_an_unreachable_server_is_named(make: Make) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ConnectionFailed, match=r"cannot reach http://127\.0\.0\.1:8000"):
        make(refuse).do(lambda client: client.models())


@pytest.mark.parametrize("client", [pararnn_client.PararnnClient, pararnn_client.AsyncPararnnClient])
def test_an_address_that_is_none_is_refused_at_once(client: type) -> None:
    with pytest.raises(ConnectionFailed, match="is no URL"):
        client("http://here:eight-thousand")


def _event(body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


_PIECES = [
    _event({"choices": [{"index": 0, "text": "def", "finish_reason": None}]}),
    b": ping\n\n",
    _event({"choices": [{"index": 0, "delta": {"content": " f"}, "finish_reason": "length"}]}),
    _event({"choices": [], "usage": REPLY["usage"]}),
]


def test_a_stream_gives_its_text_finish_reason_and_usage(make: Make) -> None:
    stream = b"".join([*_PIECES, b"data: [DONE]\n\n"])
    driver = make(lambda request: httpx.Response(200, content=stream))
    chunks = driver.chunks(lambda client: client.stream("x", max_tokens=2))
    assert "".join(chunk.text for chunk in chunks) == "def f"
    assert [chunk.finish_reason for chunk in chunks] == [None, "length", None]
    assert chunks[-1].usage == Usage(prompt_tokens=2, completion_tokens=1, cached_tokens=1)


def test_a_stream_asks_for_usage(make: Make) -> None:
    server = Recorder({})
    with pytest.raises(StreamFailed):
        make(server).chunks(
            lambda client: client.sessions.stream_chat("s1", [{"role": "user", "content": "a"}])
        )
    method, target, body = server.sent
    assert (method, target) == ("POST", "/v1/chat/completions")
    assert body == {
        "messages": [{"role": "user", "content": "a"}],
        "session_id": "s1",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_stream_cut_before_done_is_an_error_after_its_last_chunk(make: Make) -> None:
    driver = make(lambda request: httpx.Response(200, content=_PIECES[0]))
    with pytest.raises(StreamFailed, match="before the reply ended"):
        driver.chunks(lambda client: client.stream("x"))


def test_an_error_event_in_a_stream_raises_with_its_code(make: Make) -> None:
    failure = _event({"error": {"message": "too slow", "code": "request_timeout"}})
    driver = make(lambda request: httpx.Response(200, content=_PIECES[0] + failure))
    with pytest.raises(StreamFailed, match="too slow") as caught:
        driver.chunks(lambda client: client.stream("x"))
    assert caught.value.code == "request_timeout"


def test_a_stream_refused_at_once_is_a_status_error(make: Make) -> None:
    driver = make(lambda request: httpx.Response(404, json={"error": {"message": "no session"}}))
    with pytest.raises(NotFound, match="no session"):
        driver.chunks(lambda client: client.sessions.stream("gone", "x"))


def test_both_clients_have_the_same_methods_with_the_documentation_of_the_call(make: Make) -> None:
    sessions = make(Recorder(SESSION)).client.sessions
    assert sessions.append.__doc__ == append_to_session.__doc__
    assert {"create", "list", "get", "append", "generate", "stream", "cancel", "delete"} <= set(dir(sessions))
