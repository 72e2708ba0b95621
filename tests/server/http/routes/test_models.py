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
