"""Questions with one short answer, from the tables in facts.txt. No held-out prompt asks for any of them."""

from __future__ import annotations

import random
from pathlib import Path

from checkpoints.distil.text.chats.words import read_tables, sentence, with_article
from checkpoints.distil.text.documents import Turn

_TABLES = read_tables(Path(__file__).parent / "facts.txt")
COUNTRIES = _TABLES["countries"]
ELEMENTS = _TABLES["elements"]
YOUNG = _TABLES["young"]
OPPOSITES = _TABLES["opposites"]
SHORT_ANSWERS = _TABLES["short_answers"]


def fact(draw: random.Random) -> tuple[str, str]:
    """(question, answer)."""
    kind = draw.choice((_capital, _continent, _language, _element, _young, _opposite, _short, _short))
    return kind(draw)


def facts_chat(draw: random.Random) -> list[Turn]:
    """One to four questions."""
    turns: list[Turn] = []
    for _ in range(draw.randint(1, 4)):
        question, answer = fact(draw)
        turns += [("user", question), ("assistant", answer)]
    return turns


def _capital(draw: random.Random) -> tuple[str, str]:
    country, capital, *_ = draw.choice(COUNTRIES)
    asks = (
        f"What is the capital of {country}?",
        f"Which city is the capital of {country}?",
        f"Tell me the capital of {country}.",
        f"Do you know the capital city of {country}?",
    )
    return draw.choice(asks), draw.choice(
        (f"The capital of {country} is {capital}.", f"{capital}.", f"It is {capital}.")
    )


def _continent(draw: random.Random) -> tuple[str, str]:
    country, capital, continent, _ = draw.choice(COUNTRIES)
    asks = (
        f"On which continent is {country}?",
        f"Where is {country}?",
        f"In which part of the world is {capital}?",
    )
    return draw.choice(asks), f"{country} is in {continent}. Its capital is {capital}."


def _language(draw: random.Random) -> tuple[str, str]:
    country, _, _, language = draw.choice(COUNTRIES)
    asks = (f"Which language do people speak in {country}?", f"What is spoken in {country}?")
    return draw.choice(asks), f"People in {country} speak {language}."


def _element(draw: random.Random) -> tuple[str, str]:
    name, symbol = draw.choice(ELEMENTS)
    if draw.random() < 0.5:
        return f"What is the chemical symbol of {name}?", f"The chemical symbol of {name} is {symbol}."
    return f"Which element has the symbol {symbol}?", f"{symbol} is the symbol of {name}."


def _young(draw: random.Random) -> tuple[str, str]:
    animal, young = draw.choice(YOUNG)
    asks = (f"What do you call a young {animal}?", f"What is a baby {animal} called?")
    return draw.choice(asks), f"A young {animal} is called {with_article(young)}."


def _opposite(draw: random.Random) -> tuple[str, str]:
    pair = list(draw.choice(OPPOSITES))
    draw.shuffle(pair)
    asks = (f"What is the opposite of {pair[0]}?", f'Which word means the opposite of "{pair[0]}"?')
    return draw.choice(asks), draw.choice(
        (f"The opposite of {pair[0]} is {pair[1]}.", sentence(f"{pair[1]}."))
    )


def _short(draw: random.Random) -> tuple[str, str]:
    question, answer = draw.choice(SHORT_ANSWERS)
    return question, answer
