"""Places in the texts of a conversation, found again in the prompt that a template makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pararnn_server.text.conversation import Conversation


class TextPlace(NamedTuple):
    """The place after `end` characters of a message's text, whose state is kept for so many seconds."""

    message: int
    end: int
    seconds: float


def with_mark(given: Conversation, place: TextPlace, mark: str) -> Conversation:
    """Return the conversation with a mark at the place."""
    messages = list(given.messages)
    known = messages[place.message]
    content = known["content"] or ""
    messages[place.message] = {**known, "content": content[: place.end] + mark + content[place.end :]}
    return replace(given, messages=messages)


def common_beginnings(whole: str, marked: Sequence[str], mark: str) -> list[str]:
    """Return the beginning of the whole up to the mark in each marked text.

    "" where the template has dropped the mark, or changes what is before it.
    """
    return [_common_beginning(whole, text, mark) for text in marked]


def _common_beginning(whole: str, text: str, mark: str) -> str:
    before, found, _ = text.partition(mark)
    if not found:
        return ""
    # A template that trims a text does not trim spaces before a mark.
    return next((start for start in (before, before.rstrip()) if whole.startswith(start)), "")
