from pathlib import Path

import pytest

from checkpoints.distil.curve import save_curve
from checkpoints.distil.evaluate import (
    ReplyFigures,
    has_repetition,
    held_out_replies,
    markdown_table,
    reply_figures,
    text_figures,
)
from checkpoints.distil.prompts import HeldOutPrompt
from checkpoints.distil.replies import Reply
from checkpoints.distil.student_decoder import StudentDecoder
from tests.checkpoints.distil.tiny import byte_tokenizer, random_streams, tiny_learner


def test_a_run_of_eight_tokens_that_appears_twice_is_a_repetition() -> None:
    assert has_repetition([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8])
    assert has_repetition([1] * 9)
    assert not has_repetition([1] * 8)
    assert not has_repetition([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("The capital is Paris.", True),
        ("paris", True),
        ("The Parisian capital is France.", False),
        ("The capital of France is France. " * 8 + "Paris", False),
    ],
)
def test_an_answer_is_right_as_a_word_near_the_start(reply: str, right: bool) -> None:
    assert HeldOutPrompt("What is the capital of France?", ("Paris",)).is_right(reply) == right


def test_replies_are_counted_by_what_they_are() -> None:
    tokenizer = byte_tokenizer()
    prompts = [HeldOutPrompt("2 + 2?", ("4", "four")), HeldOutPrompt("Hi"), HeldOutPrompt("3 + 3?", ("6",))]
    texts = ["It is four.", "ha" * 20, "It is 16."]
    made = [
        Reply(tokenizer.encode(text).ids, ended)
        for text, ended in zip(texts, (True, False, True), strict=True)
    ]
    assert reply_figures(made, tokenizer, prompts) == ReplyFigures(3, repeated=1, ended=2, facts=2, right=1)


def test_figures_and_replies_of_a_student_make_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpoints.distil.evaluate.SHORT", 32)
    monkeypatch.setattr("checkpoints.distil.evaluate.MAX_REPLY_TOKENS", 4)
    learner, tokenizer = tiny_learner(), byte_tokenizer()
    text = text_figures(learner, random_streams(), windows=9)
    assert text == text_figures(learner, random_streams(), windows=9)
    assert text["chat"].tokens == 9 * 32
    assert text["chat"].kl > 0
    prompts = [HeldOutPrompt("Hi"), HeldOutPrompt("2 + 2?", ("4",))]
    made = held_out_replies(StudentDecoder(learner.model), tokenizer, prompts)
    figures = reply_figures(made, tokenizer, prompts)
    table = markdown_table(5000, text, {"student": figures, "teacher": figures})
    assert "After 5,000 tokens" in table
    assert table.count("\n| ") == 10


def test_a_curve_becomes_a_picture(tmp_path: Path) -> None:
    held = {kind: {"kl": 1.0, "student": 3.0, "teacher": 2.0} for kind in ("chat", "prose")}
    rows = [
        {"tokens": 100, "stage": "align", "loss": 0.5, "held_out": held},
        {"tokens": 200, "stage": "distil", "loss": 0.4},
    ]
    save_curve(rows, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
