"""Short stories from a plot and its cast, and questions about them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from checkpoints.distil.text.chats.words import (
    ANIMALS,
    FOODS,
    NAMES,
    PLACES,
    QUALITIES,
    THINGS,
    with_article,
)
from checkpoints.distil.text.documents import Turn

WEATHER = (
    "It was a warm morning.",
    "It was raining.",
    "Snow lay on the ground.",
    "The wind was cold that day.",
    "The sun was bright.",
    "Fog hung over the hills.",
    "The night was clear and full of stars.",
    "Dark clouds came over the hills.",
)


@dataclass(frozen=True)
class Cast:
    """The characters and things of a story."""

    hero: str
    animal: str
    quality: str
    friend: str
    friend_animal: str
    thing: str
    home: str
    place: str
    food: str


def drawn_cast(draw: random.Random) -> Cast:
    """No two of the cast are the same."""
    hero, friend = draw.sample(NAMES, 2)
    animal, friend_animal = draw.sample(ANIMALS, 2)
    home, place = draw.sample(PLACES, 2)
    return Cast(
        hero,
        animal,
        draw.choice(QUALITIES),
        friend,
        friend_animal,
        draw.choice(THINGS),
        home,
        place,
        draw.choice(FOODS),
    )


def story(cast: Cast, draw: random.Random) -> str:
    """An opening, the weather, a plot."""
    c = cast
    opening = draw.choice(
        (
            f"Once {with_article(c.quality)} {c.animal} named {c.hero} lived near the {c.home}.",
            f"In a {c.home} far away lived {with_article(c.quality)} {c.animal} called {c.hero}.",
            f"{c.hero} was {with_article(c.quality)} {c.animal} who lived by the {c.home}.",
            f"There was once {with_article(c.animal)} whose name was {c.hero}. {c.hero} was {c.quality}.",
        )
    )
    plot = draw.choice((_lost, _found, _mended, _noise, _practised, _storm))
    return " ".join([opening, draw.choice(WEATHER), *plot(c, draw)])


def story_chat(draw: random.Random) -> list[Turn]:
    """A request, the story, up to three questions about it."""
    cast = drawn_cast(draw)
    turns: list[Turn] = [("user", _request(cast, draw)), ("assistant", story(cast, draw))]
    for question, answer in draw.sample(_questions(cast), draw.randint(0, 3)):
        turns += [("user", question), ("assistant", answer)]
    return turns


def _request(c: Cast, draw: random.Random) -> str:
    return draw.choice(
        (
            "Tell me a story.",
            "I would like to hear a short story, please.",
            f"Tell me a story about {with_article(c.animal)}.",
            f"Can you write a story about {with_article(c.animal)} and {with_article(c.friend_animal)}?",
            f"Write a short story about {c.hero}, {with_article(c.quality)} {c.animal}.",
            f"Tell me a story with {with_article(c.thing)} in it.",
            f"Write a story for my children about {with_article(c.quality)} {c.animal} named {c.hero}.",
            f"I want a bedtime story that happens in a {c.place}.",
        )
    )


def _questions(c: Cast) -> list[tuple[str, str]]:
    return [
        (f"What was the name of the {c.animal}?", f"The {c.animal} was called {c.hero}."),
        (f"Who was {c.friend}?", f"{c.friend} was {with_article(c.friend_animal)}."),
        (f"What kind of animal was {c.hero}?", f"{c.hero} was {with_article(c.animal)}."),
        (f"Where did {c.hero} live?", f"{c.hero} lived by the {c.home}."),
        ("Which thing is in the story?", f"There is {with_article(c.thing)} in the story."),
        ("How would you describe the hero?", f"{c.hero} was {c.quality}."),
    ]


def _lost(c: Cast, draw: random.Random) -> list[str]:
    return [
        draw.choice((f"One day {c.hero} lost a {c.thing}.", f"That day the {c.thing} of {c.hero} was gone.")),
        f'"Where is my {c.thing}?" said {c.hero}, and looked all over the {c.home}, but it was not there.',
        f"Then {c.hero} met {c.friend}, {with_article(c.friend_animal)}.",
        f'"I saw your {c.thing} in the {c.place}," said {c.friend}. "Come with me."',
        f"They walked to the {c.place} together, and there was the {c.thing}.",
        draw.choice(
            (
                f'"Thank you," said {c.hero}. "Let us share some {c.food}."',
                f"{c.hero} was so glad that {c.friend} got half of the {c.food}.",
            )
        ),
        "From that day on they were friends.",
    ]


def _found(c: Cast, draw: random.Random) -> list[str]:
    return [
        f"{c.hero} found {with_article(c.thing)} in the {c.place}.",
        f'"Whose {c.thing} is this?" asked {c.hero}.',
        f"Nobody knew. So {c.hero} carried the {c.thing} from door to door.",
        f'At last {c.friend}, {with_article(c.friend_animal)}, cried: "That is my {c.thing}!"',
        f"{c.friend} thanked {c.hero} and brought some {c.food}.",
        draw.choice(
            (f"{c.hero} went home and was happy.", f"They ate together until it was dark over the {c.home}.")
        ),
    ]


def _mended(c: Cast, draw: random.Random) -> list[str]:
    return [
        f"{c.hero} was hungry and had no {c.food}.",
        f"{c.friend}, {with_article(c.friend_animal)}, had a lot of {c.food} in the {c.place}.",
        f'"If you mend my {c.thing}, you may eat with me," said {c.friend}.',
        f"{c.hero} worked all day, and in the evening the {c.thing} was as good as new.",
        draw.choice(
            (
                f"Then they sat down in the {c.place} and ate {c.food} until the stars came out.",
                f'"Nobody works as well as you," said {c.friend}, and they shared the {c.food}.',
            )
        ),
    ]


def _noise(c: Cast, draw: random.Random) -> list[str]:
    return [
        f"One night there was a noise in the {c.place}.",
        f"All the others were afraid, but {c.hero} took {with_article(c.thing)} and went to look.",
        f"In the dark sat {c.friend}, a little {c.friend_animal}, and cried.",
        draw.choice(('"I cannot find my way home," said', '"I am all alone," said')) + f" {c.friend}.",
        f"{c.hero} gave {c.friend} the {c.thing} and they went home together.",
        f"Since then nobody in the {c.home} is afraid of the {c.place} any more.",
    ]


def _practised(c: Cast, draw: random.Random) -> list[str]:
    return [
        f"{c.hero} wanted to be the best at juggling with {with_article(c.thing)}, but it was hard.",
        f"Every day {c.hero} went to the {c.place} to try again.",
        f'"You will never learn it," said {c.friend}, {with_article(c.friend_animal)}.',
        f"But {c.hero} did not give up.",
        draw.choice(("After many days", "When spring came", "On the hundredth day"))
        + f" {c.hero} could do it, and even {c.friend} clapped.",
        f'"I was wrong," said {c.friend}. "Will you teach me?"',
        f"And that is what {c.hero} did.",
    ]


def _storm(c: Cast, draw: random.Random) -> list[str]:
    return [
        f"In the evening a storm came over the {c.home}.",
        f"{c.friend}, {with_article(c.friend_animal)}, was still out in the {c.place}.",
        f"{c.hero} lit a fire, so that {c.friend} could see where home was.",
        draw.choice(
            (f"At midnight {c.friend} came in, wet and cold.", f"Then somebody knocked. It was {c.friend}.")
        ),
        f'"I found this on the way," said {c.friend}, and put {with_article(c.thing)} on the table.',
        f"They ate {c.food} and listened to the rain until they fell asleep.",
    ]
