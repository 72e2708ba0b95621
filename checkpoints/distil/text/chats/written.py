"""All chats that the program writes, by number."""

from __future__ import annotations

import random
from collections.abc import Iterator

from checkpoints.distil.text.chats.arithmetic import arithmetic_chat
from checkpoints.distil.text.chats.facts import facts_chat
from checkpoints.distil.text.chats.memory import memory_chat, places_chat
from checkpoints.distil.text.chats.small_talk import small_talk_chat
from checkpoints.distil.text.chats.stories import story_chat
from checkpoints.distil.text.documents import Document, Turn, chat_text

WRITERS = (
    (story_chat, 4),
    (memory_chat, 3),
    (facts_chat, 3),
    (places_chat, 2),
    (arithmetic_chat, 2),
    (small_talk_chat, 2),
)
# SmolLM2 was trained with a system message; most who use it send none.
SYSTEM_MESSAGES = (
    None,
    None,
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
)


def written_documents(count: int) -> Iterator[Document]:
    """The first `count` chats; each is the same in every call."""
    for number in range(count):
        yield written_document(number)


def written_document(number: int) -> Document:
    """Numbers name documents, and so decide which are held out."""
    draw = random.Random(f"written {number}")
    writer = draw.choices([one for one, _ in WRITERS], [weight for _, weight in WRITERS])[0]
    system = draw.choice(SYSTEM_MESSAGES)
    opening: list[Turn] = [("system", system)] if system else []
    return Document(f"written/{number}", chat_text(opening + writer(draw)), is_chat=True)
