"""A word of a grammar that nothing honours is refused by name."""

from __future__ import annotations

import time

import pytest
from pararnn_server.grammars.grammar_syntax import check_lark_attributes
from pararnn_server.grammars.specs import Grammar

from tests.server.grammars.grammar_fixtures import compiled, refusal


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("start: t\nt[temperature=0.7]: /b+/", "temperature"),
        ("start: T\nT[ lazy, temperature = 0.7 ] : /b+/", "temperature"),
        ('start: t\nt[stop="]", capture="x"]: /b+/', "capture"),
        ("start: t\nt[capture]: /b+/", "capture"),
    ],
)
def test_an_attribute_without_effect_is_refused(text: str, word: str) -> None:
    error = refusal(Grammar(text))
    assert error.message.startswith(f"p: the attribute {word} is not supported; leave it out and ")


@pytest.mark.parametrize(
    "text",
    [
        'start: "[temperature=1]: " [temperature]\ntemperature: "b"',
        "start: /[temperature]:/",
        '// [temperature=1]:\nstart: "a"',
        "start: t\nt[max_tokens=3]: /b+/",
    ],
)
def test_the_same_words_elsewhere_are_none(text: str) -> None:
    assert compiled(Grammar(text))


@pytest.mark.parametrize("text", ['root ::= <[7]> "a"', 'root ::= "a" !<[7]>', "root ::= <think> [a-z]+"])
def test_a_token_in_gbnf_says_how_to_send_it(text: str) -> None:
    error = refusal(Grammar(text))
    assert "in GBNF is not supported; send the grammar in Lark, which has <[7]> for an id" in error.message


@pytest.mark.parametrize("text", ['root ::= "<[7]>" [<[7]', 'root ::= "<a>" [<>]+ # <b>\n'])
def test_angle_brackets_in_a_text_or_a_set_of_gbnf_are_none(text: str) -> None:
    assert compiled(Grammar(text))


def test_tokens_are_named_in_lark() -> None:
    assert compiled(Grammar('start: <[7]> "a"'))


def test_a_hostile_text_is_searched_in_linear_time() -> None:
    began = time.process_time()
    check_lark_attributes("[" + "temperature " * 20_000)
    assert time.process_time() - began < 1
