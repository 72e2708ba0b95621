import math
from pathlib import Path

import pytest
import torch

from checkpoints.distil import card_figures
from checkpoints.distil.card_figures import measure, sampled_prompts
from checkpoints.distil.evaluate import text_figures
from checkpoints.distil.mixers_file import Mixers, write_mixers
from checkpoints.distil.prompts import held_out_prompts
from checkpoints.distil.recall import WORDS, recalled
from checkpoints.distil.served_figures import served_text_figures
from checkpoints.distil.student import mixer_parameters
from pararnn_core.assemble.assemble import assemble
from pararnn_core.assemble.card import render_card
from pararnn_core.checkpoint import checkpoint_info
from tests.checkpoints.distil.tiny import (
    RECIPE,
    byte_tokenizer,
    random_streams,
    tiny_learner,
    tiny_weights,
    write_gguf,
)


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    write_gguf(tiny_weights(), tmp_path / "tiny.gguf")
    mixers = {name: p.detach() for name, p in mixer_parameters(tiny_learner().model)}
    write_mixers(Mixers(RECIPE, 0, mixers, []), tmp_path / "mixers-gru.safetensors.xz")
    paths = [tmp_path / name for name in ("int4", "int8", "bfloat16")]
    for path in paths:
        assemble(tmp_path / "tiny.gguf", tmp_path / "mixers-gru.safetensors.xz", path, path.name)
    return paths


def test_figures_of_a_float_model_are_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("evaluate", "served_figures"):
        monkeypatch.setattr(f"checkpoints.distil.{module}.SHORT", 32)
    learner, streams = tiny_learner(), random_streams()
    wanted = text_figures(learner, streams, windows=5)["chat"]
    found = served_text_figures({"x": learner.model}, learner.teacher, streams["held_out-chat"], windows=5)[
        "x"
    ]
    assert found.tokens == wanted.tokens == 5 * 32
    for name in ("kl", "student", "teacher", "perplexity_ratio"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-4)


def test_a_card_has_every_figure_that_is_measured(
    checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpoints.distil.served_figures.SHORT", 32)
    monkeypatch.setattr("checkpoints.distil.evaluate.MAX_REPLY_TOKENS", 3)
    monkeypatch.setattr(card_figures, "DISTANCES", (20,))
    streams = random_streams()
    for name, stream in streams.items():
        # Ids below 256 are bytes in the tokenizer of this test.
        streams[name] = type(stream)(stream.ids % 256, stream.starts)
    measured = measure(checkpoints, tiny_learner().teacher, byte_tokenizer(), streams, "Measured here.")
    card = render_card("x", checkpoint_info(checkpoints[0]).config, 5, card_figures.card_figures(measured))
    losses = measured.text["chat"]
    assert list(losses) == ["int4", "int8", "bfloat16"]
    increase = math.exp(losses["int4"].student - losses["bfloat16"].student) - 1
    for wanted in (
        "Measured here.",
        f"| {losses['int4'].kl:.3f} | 0 |",
        f"{math.exp(losses['int4'].student):.2f} ({increase:+.1%})",
        "| replies that end by themselves, of 200 |",
        "| right answers to facts, of 50 |",
        "| 20 | 0 of 10 |",
    ):
        assert wanted in card
    assert card.count("assistant: ") == 10


def test_samples_are_drawn_by_a_seed_alone() -> None:
    prompts = held_out_prompts()
    assert sampled_prompts(prompts) == sampled_prompts(list(prompts))
    assert len(set(sampled_prompts(prompts))) == 10
    assert sampled_prompts(prompts) != sampled_prompts(prompts, seed=1)


class Echo:
    """A decoder that replies with the end of its prompt's first sentence."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.reply: list[int] = []

    def start(self, prompts: list[list[int]]) -> torch.Tensor:
        (prompt,) = prompts
        text = byte_tokenizer().decode(prompt)
        self.prompts.append(text)
        word = text.split("word is ", 1)[1].split(".", 1)[0]
        # The third word is not remembered.
        self.reply = byte_tokenizer().encode("it is " + (word if len(self.prompts) != 3 else "gone")).ids
        return self.next()

    def step(self, _: torch.Tensor) -> torch.Tensor:
        return self.next()

    def next(self) -> torch.Tensor:
        token = self.reply.pop(0) if self.reply else 2
        return torch.nn.functional.one_hot(torch.tensor([token]), 300).float()

    def keep(self, _: torch.Tensor) -> None:
        raise AssertionError("there is one sequence")


def test_a_word_counts_as_recalled_when_the_reply_has_it() -> None:
    text = byte_tokenizer().encode("The sky is blue today. " * 20).ids
    decoder = Echo()
    assert recalled(decoder, byte_tokenizer(), text, 100) == (len(WORDS) - 1, len(WORDS))
    for word, prompt in zip(WORDS, decoder.prompts, strict=True):
        assert f"is {word}." in prompt
        between = prompt.split("\n\n")[1]
        assert len(between) == 100
