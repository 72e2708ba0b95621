"""Request, then generation_config.json, then the documented default."""

import json
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.models.loading import load
from pararnn_server.models.sampling_defaults import SamplingDefaults, sampling_defaults
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.tokenizer import TokenizerError

from tests.fixtures import tiny_checkpoint
from tests.server.http_server import HttpServer, serving

QUESTION = {"prompt": "the x", "max_tokens": 24, "seed": 5}


def with_generation_config(folder: Path, **members: Any) -> Settings:
    path = tiny_checkpoint(folder / "tiny") / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    return Settings(checkpoint=str(path.parent))


def test_request_then_checkpoint_then_documented_default(tmp_path: Path, server: HttpServer) -> None:
    def text(of: HttpServer, **fields: Any) -> str:
        return str(of.complete(**QUESTION, **fields)["choices"][0]["text"])

    with serving(load(with_generation_config(tmp_path, temperature=0.0, top_k=None))) as greedy:
        assert text(greedy) == text(server, temperature=0) != text(server)
        assert text(greedy, temperature=1.0) == text(server)
        answer = greedy.answer("/v1/responses", {"input": "the", "max_output_tokens": 1})
        assert (answer["temperature"], answer["top_p"]) == (0.0, 1.0)


def test_members_that_are_no_sampling_values_are_left_alone() -> None:
    config = {"temperature": 1, "top_k": -1, "do_sample": False, "max_length": 20, "min_p": None}
    assert sampling_defaults(config) == SamplingDefaults()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("temperature", "0.8"),
        ("temperature", -1),
        ("top_p", 1.5),
        ("top_k", 2.5),
        ("top_k", True),
        ("min_p", [0.1]),
        ("repetition_penalty", 0),
    ],
)
def test_value_that_no_request_could_send_is_named_when_the_checkpoint_loads(
    tmp_path: Path, member: str, value: Any
) -> None:
    settings = with_generation_config(tmp_path, **{member: value})
    with pytest.raises(TokenizerError, match=rf"generation_config\.json: .*{member}"):
        load(settings)
