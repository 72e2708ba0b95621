"""POST /v1/embeddings in OpenAI's shape: numbers or base64, one input or several."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

PATH = "/v1/embeddings"


def vectors(answer: dict[str, Any]) -> list[bytes]:
    assert [one["index"] for one in answer["data"]] == list(range(len(answer["data"])))
    return [
        base64.b64decode(one["embedding"])
        if isinstance(one["embedding"], str)
        else np.array(one["embedding"], "<f4").tobytes()
        for one in answer["data"]
    ]


def test_numbers_and_base64_are_the_same_vectors(server: HttpServer) -> None:
    body = {"input": ["the x", "in"]}
    plain = server.answer(PATH, body)
    assert (plain["object"], plain["data"][0]["object"]) == ("list", "embedding")
    assert plain["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    encoded = server.answer(PATH, {**body, "encoding_format": "base64"})
    assert vectors(plain) == vectors(encoded)
    for data in vectors(plain):
        assert abs(float(np.linalg.norm(np.frombuffer(data, "<f4"))) - 1.0) < 1e-5


def test_text_and_its_ids_alone_or_in_a_list_have_the_same_vector(server: HttpServer) -> None:
    ids = server.answer("/tokenize", {"prompt": "the x"})["tokens"]
    inputs: list[Any] = ["the x", ["the x"], ids, [ids]]
    found = [vectors(server.answer(PATH, {"input": given}))[0] for given in inputs]
    assert len(set(found)) == 1
    many = vectors(server.answer(PATH, {"input": ["in", "the x", "he", "the x"]}))
    assert many[1] == many[3] == found[0]
    assert len(set(many)) == 3


def test_embeddings_leave_no_state_in_the_cache(loaded: Loaded) -> None:
    with serving(loaded) as server:
        server.answer(PATH, {"input": "the x" * 40})
        assert server.metric("pararnn_state_cache_bytes") == 0
        assert server.metric("pararnn_prompt_tokens_total") > 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [265]}, "input"),
        ({"input": ["a"] * 300}, "input"),
        ({"input": 7}, "input"),
        ({"input": "a", "dimensions": 31}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "surprise": 1}, "surprise"),
        ({"input": "a", "timeout": 1e9}, "timeout"),
    ],
)
def test_bad_field_is_a_400_that_names_it(server: HttpServer, body: dict[str, Any], param: str) -> None:
    response = server.post(PATH, body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_dimensions_of_the_model_are_taken_and_an_unknown_model_is_a_404(server: HttpServer) -> None:
    assert server.answer(PATH, {"input": "a", "dimensions": 32, "user": "me"})
    assert server.post(PATH, {"input": "a", "model": "other"}).status_code == 404


def test_an_answer_that_would_be_too_large_is_refused_before_it_is_made(loaded: Loaded) -> None:
    with serving(loaded, max_answer_bytes=1 << 16) as server:
        assert server.answer(PATH, {"input": ["a"] * 100})
        response = server.post(PATH, {"input": ["a"] * 200})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "input")
