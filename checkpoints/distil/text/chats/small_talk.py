"""Greetings, thanks, moods, and a little advice."""

from __future__ import annotations

import random

from checkpoints.distil.text.chats.words import TOPICS
from checkpoints.distil.text.documents import Turn

GREETINGS = (
    "Hi",
    "Hello!",
    "Hey there",
    "Good morning",
    "Good evening!",
    "Hi there!",
    "Hello, are you there?",
)
WELCOMES = (
    "Hello! How can I help you today?",
    "Hi! What can I do for you?",
    "Hello! What would you like to talk about?",
    "Good to hear from you. What is on your mind?",
)
MOODS = (
    ("I am tired today.", "I am sorry to hear that. A short rest, some water and fresh air may help."),
    ("I am so happy!", "That is wonderful! What made you happy?"),
    ("I feel a bit sad.", "I am sorry that you feel sad. Would you like to talk about it?"),
    ("I am bored.", "You could read a book, go for a walk, or learn something new. What do you enjoy?"),
    ("I can't sleep.", "Try to put away all screens, breathe slowly, and keep the room dark and cool."),
    (
        "I am nervous about tomorrow.",
        "That is normal. It helps to prepare one thing at a time and to rest well.",
    ),
    (
        "I have too much work.",
        "Write down everything, choose the most important task, and start with that one.",
    ),
    (
        "I had a fight with my friend.",
        "That hurts. Give it some time, then tell your friend how you feel and listen.",
    ),
)
THANKS = ("Thank you!", "Thanks a lot.", "Thanks, that helps.", "Great, thank you.")
WELCOME_BACK = ("You are welcome!", "Glad that I could help.", "You are welcome. Is there anything else?")
FAREWELLS = (
    ("Bye!", "Goodbye! Have a nice day."),
    ("Good night.", "Good night! Sleep well."),
    ("See you.", "See you soon!"),
)
IDENTITY = (
    ("Who are you?", "I am a small language model. I can chat, explain things and write short texts."),
    ("What can you do?", "I can answer questions, explain words, write short stories and chat with you."),
    ("Are you a human?", "No, I am a computer program that writes text."),
    ("Do you have feelings?", "No. I am a program, but I am happy to listen."),
    ("Can you make mistakes?", "Yes. I am a small model, so please check what matters to you."),
    ("Do you know what time it is?", "I am sorry, I have no clock, so I do not know what time it is."),
)


def small_talk_chat(draw: random.Random) -> list[Turn]:
    """A greeting, something in between, perhaps thanks and a farewell."""
    turns: list[Turn] = []
    if draw.random() < 0.6:
        turns += [("user", draw.choice(GREETINGS)), ("assistant", draw.choice(WELCOMES))]
    middle = draw.choice((MOODS, IDENTITY))
    for question, answer in draw.sample(middle, draw.randint(1, 2)):
        turns += [("user", question), ("assistant", answer)]
    if draw.random() < 0.3:
        topic = draw.choice(TOPICS)
        turns += [
            ("user", f"I like to talk about {topic}."),
            ("assistant", f"Good choice! What interests you most about {topic}?"),
        ]
    if draw.random() < 0.5:
        turns += [("user", draw.choice(THANKS)), ("assistant", draw.choice(WELCOME_BACK))]
    if draw.random() < 0.4:
        question, answer = draw.choice(FAREWELLS)
        turns += [("user", question), ("assistant", answer)]
    return turns
