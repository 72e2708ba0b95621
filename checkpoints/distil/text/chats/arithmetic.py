"""Small sums, bare and in words."""

from __future__ import annotations

import random

from checkpoints.distil.text.chats.words import FOODS, NAMES, THINGS
from checkpoints.distil.text.documents import Turn


def arithmetic_chat(draw: random.Random) -> list[Turn]:
    """One to four sums."""
    turns: list[Turn] = []
    for _ in range(draw.randint(1, 4)):
        question, answer = draw.choice((_bare, _bare, _bought, _given, _shared, _compared, _next_number))(
            draw
        )
        turns += [("user", question), ("assistant", answer)]
    return turns


def _bare(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randint(2, 60), draw.randint(2, 40)
    sign, word, result = draw.choice(
        (("+", "plus", a + b), ("-", "minus", a - b), ("*", "times", a * b), ("x", "multiplied by", a * b))
    )
    asks = (
        f"What is {a} {sign} {b}?",
        f"What is {a} {word} {b}?",
        f"{a} {sign} {b} = ?",
        f"Calculate {a} {word} {b}.",
    )
    answers = (f"{a} {sign} {b} = {result}", f"{a} {word} {b} is {result}.", f"The answer is {result}.")
    return draw.choice(asks), draw.choice(answers)


def _bought(draw: random.Random) -> tuple[str, str]:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    count, price = draw.randint(2, 9), draw.randint(2, 15)
    question = f"{name} buys {count} {thing}s. Each costs {price} dollars. How much does {name} pay?"
    return (
        question,
        f"{count} {thing}s at {price} dollars each cost {count} * {price} = {count * price} dollars.",
    )


def _given(draw: random.Random) -> tuple[str, str]:
    first, second = draw.sample(NAMES, 2)
    food = draw.choice(FOODS)
    has, gives = draw.randint(8, 30), draw.randint(1, 7)
    question = (
        f"{first} has {has} {food} and gives {gives} to {second}. How many {food} does {first} have now?"
    )
    return question, f"{first} has {has} - {gives} = {has - gives} {food} left."


def _shared(draw: random.Random) -> tuple[str, str]:
    people, each = draw.randint(2, 9), draw.randint(2, 12)
    food = draw.choice(FOODS)
    question = f"{people} friends share {people * each} {food}. How many does each of them get?"
    return question, f"Each of them gets {people * each} / {people} = {each}."


def _compared(draw: random.Random) -> tuple[str, str]:
    a, b = draw.sample(range(2, 500), 2)
    return f"Which number is larger, {a} or {b}?", f"{max(a, b)} is larger than {min(a, b)}."


def _next_number(draw: random.Random) -> tuple[str, str]:
    start, step = draw.randint(1, 30), draw.randint(2, 9)
    row = [start + step * i for i in range(5)]
    listed = ", ".join(map(str, row[:4]))
    return (
        f"Which number comes next: {listed}?",
        f"Each number is {step} more than the one before, so {row[4]} comes next.",
    )
