"""The names of the served model."""

import pytest
from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings
from pydantic import ValidationError

from tests.server.http_server import HttpServer, serving


@pytest.fixture(scope="module")
def named(loaded: Loaded, checkpoint: str) -> Loaded:
    return load(Settings(checkpoint=str(checkpoint), served_model_name="first, dummy,first"))


def test_model_answers_to_each_of_its_names(named: Loaded) -> None:
    with serving(named) as server:
        for name in ("first", "dummy"):
            assert server.complete("the", model=name, max_tokens=1)["model"] == "first"
            model = server.get(f"/v1/models/{name}").json()
            assert (model["id"], model["root"]) == (name, "first")
        assert [model["id"] for model in server.get("/v1/models").json()["data"]] == ["first", "dummy"]
        refused = server.post("/v1/completions", {"prompt": "the", "model": "other"})
        assert refused.status_code == 404
        assert "'first' or 'dummy'" in refused.json()["error"]["message"]


def test_name_of_257_characters_is_refused() -> None:
    with pytest.raises(ValidationError, match="256 characters"):
        Settings(served_model_name="a" * 257)


def test_fingerprint_of_answers_names_model_types_and_build(server: HttpServer, loaded: Loaded) -> None:
    fields = {"prompt": "the", "max_tokens": 2}
    fingerprint = server.complete(**fields)["system_fingerprint"]
    assert fingerprint.startswith("fp_")
    assert server.chat("the", max_tokens=1)["system_fingerprint"] == fingerprint
    events = server.events("/v1/completions", fields)
    assert {event["system_fingerprint"] for event in events} == {fingerprint}
    with serving(loaded) as again:
        assert again.complete(**fields)["system_fingerprint"] == fingerprint


ANTHROPIC = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def five_names(checkpoint: str) -> Loaded:
    return load(Settings(checkpoint=str(checkpoint), served_model_name="a,b,c,d,e"))


def test_pages_of_models_join_to_the_whole_list(five_names: Loaded) -> None:
    with serving(five_names) as server:

        def page(**query: object) -> tuple[list[str], bool]:
            answer = server.get("/v1/models", params=query, headers=ANTHROPIC)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            ids = [model["id"] for model in found["data"]]
            assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
            return ids, found["has_more"]

        assert page() == (["a", "b", "c", "d", "e"], False)
        assert page(limit=2) == (["a", "b"], True)
        assert page(limit=2, after_id="b") == (["c", "d"], True)
        assert page(limit=2, after_id="d") == (["e"], False)
        assert page(after_id="e") == ([], False)
        assert page(limit=2, before_id="d") == (["b", "c"], True)
        assert page(limit=2, before_id="b") == (["a"], False)
        assert page(**{"lifecycle[]": ["active", "retired"], "limit": 1}) == (["a"], True)
        assert page(**{"lifecycle[]": "retired"}) == ([], False)


@pytest.mark.parametrize(
    ("query", "headers", "param"),
    [
        ("limit=0", ANTHROPIC, "limit"),
        ("limit=x", ANTHROPIC, "limit"),
        ("after_id=nobody", ANTHROPIC, "after_id"),
        ("after_id=dummy&before_id=dummy", ANTHROPIC, "before_id"),
        ("lifecycle[]=old", ANTHROPIC, "lifecycle"),
        ("after=dummy", ANTHROPIC, "after"),
        ("limit=1", {}, "limit"),
    ],
)
def test_query_of_models_that_means_no_page_is_refused(
    named: Loaded, query: str, headers: dict[str, str], param: str
) -> None:
    with serving(named) as server:
        answer = server.get(f"/v1/models?{query}", headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith(param)
