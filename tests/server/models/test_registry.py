"""Two models in one process, with one store: nothing of one becomes the other's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.models.loading import Loaded, load
from pararnn_server.models.registry import ModelRegistry
from pararnn_server.settings.server_settings import Settings
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures import tiny_checkpoint
from tests.server.http_server import HttpServer, serving

PROMPT = "the cat sat on the mat and the dog sat on the log " * 4


@pytest.fixture(scope="module")
def two(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    path = tiny_checkpoint(tmp_path_factory.mktemp("second") / "second", seed=7)
    return [
        replace(loaded, names=("a", "alias")),
        replace(load(Settings(checkpoint=str(path))), names=("b",)),
    ]


@pytest.fixture(scope="module")
def both(two: list[Loaded]) -> Iterator[HttpServer]:
    with serving(two) as running:
        yield running


def text(server: HttpServer, **fields: Any) -> str:
    body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 8, "ignore_eos": True, **fields}
    return str(server.answer("/v1/completions", body)["choices"][0]["text"])


def cached(server: HttpServer, **fields: Any) -> int:
    answer = server.complete(PROMPT, max_tokens=1, temperature=0, **fields)
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def counted(server: HttpServer, name: str) -> dict[str, float]:
    """A counter by model."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"pararnn_{name}"]
    return {sample.labels["model"]: sample.value for sample in samples}


def test_every_name_of_every_model_is_listed_and_leads_to_its_model(both: HttpServer) -> None:
    assert [model["id"] for model in both.get("/v1/models").json()["data"]] == ["a", "alias", "b"]
    assert both.get("/v1/models/alias").json()["root"] == "a"
    answers = {name: both.complete("the", model=name)["model"] for name in ("a", "alias", "b")}
    assert answers == {"a": "a", "alias": "a", "b": "b"}
    assert both.complete("the")["model"] == "a"


def test_an_unknown_name_is_a_404_that_names_all(both: HttpServer) -> None:
    for path, body in (("completions", {"prompt": "a"}), ("chat/completions", {"messages": []})):
        answer = both.post(f"/v1/{path}", {"model": "c", **body})
        assert answer.status_code in (400, 404), answer.text
    error = both.post("/v1/completions", {"model": "c", "prompt": "a"})
    assert (error.status_code, error.json()["error"]["code"]) == (404, "model_not_found")
    assert all(f"'{name}'" in error.json()["error"]["message"] for name in ("a", "alias", "b"))


def test_each_model_answers_as_it_does_alone(both: HttpServer, two: list[Loaded]) -> None:
    together = [text(both, model=each.name) for each in two]
    assert together[0] != together[1]
    for loaded, expected in zip(two, together, strict=True):
        with serving(loaded) as alone:
            assert text(alone) == expected


def test_a_session_is_continued_by_its_model_and_refused_to_another(both: HttpServer) -> None:
    ours, theirs = (both.create_session(model=name, text=PROMPT) for name in ("a", "b"))
    assert both.get(f"/v1/sessions/{theirs}").json()["model"] == "b"
    refused = both.post("/v1/completions", {"model": "a", "session_id": theirs, "prompt": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_changed")
    # Without a name the session's model is meant.
    for session, name in ((ours, "a"), (theirs, "b")):
        answer = both.complete("more", session_id=session, max_tokens=4, temperature=0)
        assert answer["model"] == name
        with_name = both.create_session(model=name, text=PROMPT)
        again = both.complete("more", model=name, session_id=with_name, max_tokens=4, temperature=0)
        assert again["choices"][0]["text"] == answer["choices"][0]["text"]
    assert {info["id"] for info in both.get("/v1/sessions?limit=100").json()["data"]} >= {ours, theirs}


def test_routes_that_name_only_a_session_find_its_model(both: HttpServer) -> None:
    session = both.create_session(model="b", text=PROMPT)
    path = f"/v1/sessions/{session}"
    assert both.post(f"{path}/append", {"text": " more"}).json()["model"] == "b"
    child = both.post(f"{path}/fork", {}).json()
    assert child["model"] == "b"
    assert both.post(f"{path}/snapshots", {"name": "here"}).status_code == 200
    assert both.post(f"{path}/rollback", {"turns": 1}).json()["turn"] == 1
    assert both.post(f"{path}/rollback", {"snapshot": "here"}).json()["turn"] == 2
    file = both.get(f"{path}/state").content
    binary = {"content-type": "application/octet-stream"}
    assert both.http.put(f"/v1/sessions/{child['id']}/state", content=file, headers=binary).status_code == 200
    assert both.post(f"{path}/cancel").status_code == 200
    assert both.http.delete(path).status_code == 200
    assert both.get(path).status_code == 404


def test_a_response_of_another_model_is_read_again_as_text(both: HttpServer) -> None:
    first = both.answer("/v1/responses", {"model": "a", "input": "hello", "max_output_tokens": 4})
    follow = {"input": "more", "max_output_tokens": 4, "previous_response_id": first["id"]}
    second = both.answer("/v1/responses", {"model": "b", **follow})
    assert (second["model"], second["usage"]["input_tokens_details"]["cached_tokens"]) == ("b", 0)
    third = both.answer("/v1/responses", {"model": "a", **follow})
    assert third["usage"]["input_tokens_details"]["cached_tokens"] > 0


def test_state_caches_do_not_mix(both: HttpServer) -> None:
    salt = {"cache_salt": "mix"}
    assert cached(both, model="a", **salt) == 0
    assert cached(both, model="a", **salt) > 0
    assert cached(both, model="b", **salt) == 0


def test_each_model_counts_its_own(both: HttpServer) -> None:
    before = counted(both, "generation_tokens_total")
    both.complete("the", model="b", max_tokens=5, ignore_eos=True)
    after = counted(both, "generation_tokens_total")
    assert (after["a"] - before["a"], after["b"] - before["b"]) == (0, 5)
    commits = counted(both, "store_commit_seconds_count")
    both.create_session(model="b", text="the")
    assert counted(both, "store_commit_seconds_count") == {**commits, "b": commits["b"] + 1}
    assert set(counted(both, "state_slots")) == {"a", "b"}


def test_a_name_is_given_once() -> None:
    registry = ModelRegistry()
    registry._by_name["a"] = None  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(ConfigurationError, match="two models are called 'a'"):
        registry.check_free(["b", "a"])


def test_sessions_of_two_models_are_whole_after_a_restart(two: list[Loaded], tmp_path: Path) -> None:
    store = {"store": "sqlite", "data_dir": tmp_path}
    with serving(two, **store) as server:
        ids = {name: server.create_session(model=name, text=PROMPT) for name in ("a", "b")}
    # In the other order: what a session needs is in the store, not in the registry.
    with serving(two[::-1], **store) as server:
        for name, session in ids.items():
            assert server.complete("more", session_id=session, max_tokens=2)["model"] == name
