"""Chats whose answers are earlier in the chat: what the user said, and where things were put."""

from __future__ import annotations

import random

from checkpoints.distil.text.chats.facts import fact
from checkpoints.distil.text.chats.words import (
    ANIMALS,
    COLOURS,
    FOODS,
    JOBS,
    NAMES,
    PLACES,
    THINGS,
    with_article,
)
from checkpoints.distil.text.documents import Turn


def memory_chat(draw: random.Random) -> list[Turn]:
    """The user tells one to four things, something else may follow, then each is asked for."""
    told = draw.sample(_told(draw), draw.randint(1, 4))
    turns: list[Turn] = []
    for statement, reply, _, _ in told:
        turns += [("user", statement), ("assistant", reply)]
    for _ in range(draw.randint(0, 3)):
        question, answer = fact(draw)
        turns += [("user", question), ("assistant", answer)]
    draw.shuffle(told)
    for _, _, question, answer in told:
        turns += [("user", question), ("assistant", answer)]
    return turns


def _told(draw: random.Random) -> list[tuple[str, str, str, str]]:
    name, pet_name, friend = draw.sample(NAMES, 3)
    animal, food, job, colour = (
        draw.choice(ANIMALS),
        draw.choice(FOODS),
        draw.choice(JOBS),
        draw.choice(COLOURS),
    )
    age = draw.randint(7, 80)
    return [
        (
            f"My name is {name}.",
            f"Hello {name}! How can I help you?",
            "What is my name?",
            f"Your name is {name}.",
        ),
        (
            f"I have {with_article(animal)} called {pet_name}.",
            f"{pet_name} is a nice name for {with_article(animal)}.",
            f"What is my {animal} called?",
            f"Your {animal} is called {pet_name}.",
        ),
        (f"I like {food}.", "That is good to know.", "What do I like to eat?", f"You like {food}."),
        (f"I work as a {job}.", "That sounds interesting!", "What is my job?", f"You work as a {job}."),
        (f"I am {age} years old.", "Thank you for telling me.", "How old am I?", f"You are {age} years old."),
        (
            f"My best friend is {friend}.",
            f"It is good to have a friend like {friend}.",
            "Who is my best friend?",
            f"Your best friend is {friend}.",
        ),
        (
            f"My favourite colour is {colour}.",
            f"{colour.capitalize()} is a nice colour.",
            "What is my favourite colour?",
            f"Your favourite colour is {colour}.",
        ),
    ]


def places_chat(draw: random.Random) -> list[Turn]:
    """People carry things from place to place; at the end somebody asks where they are."""
    people, things, places = draw.sample(NAMES, 2), draw.sample(THINGS, 2), draw.sample(PLACES, 3)
    where = {person: draw.choice(places) for person in people}
    lies = {thing: draw.choice(places) for thing in things}
    holder: dict[str, str] = {}
    told = [f"{person} is in the {where[person]}." for person in people]
    told += [f"The {thing} is in the {lies[thing]}." for thing in things]
    for _ in range(draw.randint(1, 7)):
        told.append(_event(draw, people, places, where, lies, holder))
    turns: list[Turn] = []
    questions = [_whereabouts(thing, where, lies, holder) for thing in things]
    questions += [(f"Where is {person}?", f"{person} is in the {where[person]}.") for person in people]
    asked = draw.sample(questions, draw.randint(1, 3))
    turns += [("user", f"{' '.join(told)} {asked[0][0]}"), ("assistant", asked[0][1])]
    for question, answer in asked[1:]:
        turns += [("user", question), ("assistant", answer)]
    return turns


def _event(
    draw: random.Random,
    people: list[str],
    places: list[str],
    where: dict[str, str],
    lies: dict[str, str],
    holder: dict[str, str],
) -> str:
    person = draw.choice(people)
    here = [thing for thing in lies if thing not in holder and lies[thing] == where[person]]
    held = [thing for thing in lies if holder.get(thing) == person]
    kind = draw.randrange(3)
    if kind == 0 and here:
        holder[thing := draw.choice(here)] = person
        return f"{person} takes the {thing}."
    if kind == 1 and held:
        del holder[thing := draw.choice(held)]
        lies[thing] = where[person]
        return f"{person} puts down the {thing}."
    where[person] = draw.choice([place for place in places if place != where[person]])
    return f"{person} goes to the {where[person]}."


def _whereabouts(
    thing: str, where: dict[str, str], lies: dict[str, str], holder: dict[str, str]
) -> tuple[str, str]:
    if thing in holder:
        person = holder[thing]
        return f"Where is the {thing}?", f"{person} has the {thing} in the {where[person]}."
    return f"Where is the {thing}?", f"The {thing} is in the {lies[thing]}."
