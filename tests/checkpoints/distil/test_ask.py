import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings

from checkpoints.distil import ask, served_replies
from checkpoints.distil.__main__ import main
from checkpoints.distil.card_figures import sampled_prompts
from checkpoints.distil.prompts import held_out_prompts
from pararnn_core.assemble.card import render_card
from pararnn_core.models.pararnn.config import ModelConfig
from tests.fixtures import tiny_checkpoint
from tests.server.http_server import HttpServer, serving


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    path = tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")
    with serving(load(Settings(checkpoint=str(path)))) as server:
        yield server


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ask, served_replies):
        monkeypatch.setattr(module, "MAX_REPLY_TOKENS", 12)


def test_the_first_replies_to_drawn_prompts_are_shown_as_they_came(
    tiny: HttpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text('{"measured": "Here."}')
    command = ["ask", "--url", tiny.url, "--seed", "3", "--temperature", "0.5", "--figures", str(figures)]
    main(command)
    first = capsys.readouterr().out
    prompts = held_out_prompts()
    places = sampled_prompts(prompts, 3)
    assert [line[2:] for line in first.splitlines() if line.startswith("> ")] == [
        prompts[place].prompt for place in places
    ]
    assert "First replies of tiny" in first
    assert "temperature 0.5, at most 12 tokens" in first
    asked = {"messages": [{"role": "user", "content": prompts[places[1]].prompt}], "max_tokens": 12}
    answer = tiny.answer("/v1/chat/completions", {**asked, "temperature": 0.5, "seed": 4})
    samples = json.loads(figures.read_text())["samples"]
    assert samples[1]["reply"].removesuffix(" ...") == answer["choices"][0]["message"]["content"]
    main(command)
    assert capsys.readouterr().out == first


def test_settings_of_the_sampler_are_counted_for_the_card(
    tiny: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "held_out_prompts", lambda: held_out_prompts()[:60])
    monkeypatch.setattr(ask, "SAMPLING", (("greedy", {"temperature": 0.0}),))
    figures = tmp_path / "figures.json"
    figures.write_text("{}")
    main(["sampling", "--url", tiny.url, "--figures", str(figures)])
    found = json.loads(figures.read_text())
    ((name, repeated, ended, right),) = found["sampling"]
    assert name == "greedy"
    assert all(0 <= int(count) <= 60 for count in (repeated, ended, right))
    sizes = {"vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_heads": 1}
    config = ModelConfig(cell="gru", dtype="bfloat16", **sizes)
    card = render_card("x", config, 5, found)
    assert f"| greedy | {repeated} | {ended} | {right} |" in card
    assert found["sampling_measured"] in card


def test_a_server_that_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ask", "--url", "http://127.0.0.1:9"])
    assert "is the server running?" in capsys.readouterr().err


def test_a_field_that_the_server_refuses_is_named(
    tiny: HttpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["ask", "--url", tiny.url, "--temperature", "-1"])
    assert "temperature" in capsys.readouterr().err
