import inspect
import json

import pytest
from pararnn_server import errors
from pararnn_server.errors import ServerError, TooManyRequests
from pararnn_server.http.formats.sse import error_event
from pararnn_server.http.schemas.errors import ErrorBody

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ServerError) and kind is not ServerError
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_the_one_body(kind: type[ServerError]) -> None:
    error = kind("what and why", param="field")
    body = ErrorBody.model_validate(error.body())
    assert (body.error.message, body.error.param) == ("what and why", "field")
    assert json.loads(error_event(error).removeprefix(b"data: ")) == error.body()


def test_statuses_are_the_published_ones() -> None:
    assert sorted(kind.status for kind in CLASSES) == [
        *(400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 429, 431, 499, 500, 500, 503, 504),
    ]


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.status in (409, 500, 504)])
def test_what_a_retry_would_repeat_says_so(kind: type[ServerError]) -> None:
    assert kind("x").headers["x-should-retry"] == "false"


def test_retry_after_is_a_whole_number_of_at_least_one_second() -> None:
    for seconds, header in ((0.0, "1"), (0.2, "1"), (1.5, "2"), (30.0, "30")):
        assert TooManyRequests("x", retry_after=seconds).headers["retry-after"] == header


def test_headers_of_one_error_are_not_those_of_another() -> None:
    first = TooManyRequests("x", retry_after=5)
    first.headers["x-other"] = "1"
    assert "x-other" not in TooManyRequests("x").headers
