"""Prompts that the teacher answers for training, written by a program. None of them is held out."""

from __future__ import annotations

import random

from checkpoints.distil.prompts import held_out_prompts, plain
from checkpoints.distil.text.chats.facts import fact
from checkpoints.distil.text.chats.words import (
    ANIMALS,
    FOODS,
    JOBS,
    NAMES,
    PLACES,
    QUALITIES,
    THINGS,
    TOPICS,
    with_article,
)

TEMPLATES = (
    "What is {topic}?",
    "Tell me about {topic}.",
    "Tell me something interesting about {topic}.",
    "What do you know about {topic}?",
    "Explain {topic} to a child.",
    "Explain {topic} in two sentences.",
    "Why is {topic} important?",
    "Why do people like {topic}?",
    "Write a paragraph about {topic}.",
    "Give me three facts about {topic}.",
    "What is the history of {topic}?",
    "Compare {topic} and {other_topic}.",
    "What have {topic} and {other_topic} in common?",
    "What would the world be like without {topic}?",
    "Ask me a question about {topic}.",
    "Give me one tip about {topic}.",
    "Write a poem about {topic}.",
    "Write two lines that rhyme about {topic}.",
    "Tell me a joke about {topic}.",
    "Write an email to {name} about {topic}.",
    "How do I learn more about {topic}?",
    "I am interested in {topic}. Where do I start?",
    "My friend {name} likes {topic}. What present can I buy?",
    "List five words that have to do with {topic}.",
    "Write a title for an article about {topic}.",
    "Write a story about {a_quality_animal}.",
    "Write a short story about {a_quality_animal} and {an_animal}.",
    "Tell me a story about {name}, {a_quality_animal} who finds {a_thing} in the {place}.",
    "Write a story that happens in a {place} and has {a_thing} in it.",
    "Write a dialogue between {a_job} and {other_job}.",
    "Describe a {place}.",
    "Describe {a_thing} without saying its name.",
    "What can I do with {a_thing}?",
    "What does {a_job} do all day?",
    "How do I become {a_job}?",
    "Is it hard to be {a_job}?",
    "What can I cook with {food} and {other_food}?",
    "Give me a simple recipe with {food}.",
    "Are {food} healthy?",
    "What do I do when I have lost my {thing}?",
    "How do I make {a_thing} myself?",
    "What is the difference between {an_animal} and {other_animal}?",
    "Where does {an_animal} live, and what does it eat?",
    "Can I keep {an_animal} at home?",
    "My name is {name} and I am {a_job}. Introduce me to a group.",
    "I feel {quality} today. What should I do?",
    "Write a birthday card for {name}, who likes {topic}.",
    "{name} has {number} {food} and eats {few}. How many are left?",
    "What is {number} plus {few}?",
    "What is {number} times {few}?",
    "Is {number} larger than {other_number}?",
    "Write a sentence with the words {thing}, {place} and {quality}.",
    "Correct this sentence: {name} go to the {place} every day.",
    "Put this into the past tense: {name} goes to the {place} with {a_thing}.",
    "Summarise: {name} is {a_job}. Every morning {name} walks to the {place} and eats {food} there.",
    "{name} is in the {place} with {a_thing}. Where is {name}?",
    "How do I write a Python program about {topic}?",
    "Write a Python function that counts {thing}s in a list.",
    "Plan a day in the {place} for two children.",
    "What questions would you ask {a_job}?",
    "Give me reasons for and against {topic}.",
    "{fact}",
    "{fact}",
    "{fact}",
)
SYSTEM_MESSAGES = (None, None, None, "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
_HELD_OUT = frozenset(plain(one.prompt) for one in held_out_prompts())


def request(number: int) -> tuple[str | None, str]:
    """(system message, prompt) of this number, the same in every call."""
    draw = random.Random(f"request {number}")
    while plain(prompt := _drawn(draw)) in _HELD_OUT:
        pass
    return draw.choice(SYSTEM_MESSAGES), prompt


def _drawn(draw: random.Random) -> str:
    topic, other_topic = draw.sample(TOPICS, 2)
    animal, other_animal = draw.sample(ANIMALS, 2)
    food, other_food = draw.sample(FOODS, 2)
    job, other_job = draw.sample(JOBS, 2)
    thing = draw.choice(THINGS)
    quality = draw.choice(QUALITIES)
    words = {
        "topic": topic,
        "other_topic": other_topic,
        "an_animal": with_article(animal),
        "other_animal": with_article(other_animal),
        "a_quality_animal": f"{with_article(quality)} {animal}",
        "quality": quality,
        "food": food,
        "other_food": other_food,
        "a_job": with_article(job),
        "other_job": with_article(other_job),
        "thing": thing,
        "a_thing": with_article(thing),
        "place": draw.choice(PLACES),
        "name": draw.choice(NAMES),
        "number": draw.randint(20, 99),
        "other_number": draw.randint(20, 99),
        "few": draw.randint(2, 19),
        "fact": fact(draw)[0],
    }
    return draw.choice(TEMPLATES).format(**words)
