"""Marks in the texts of a request to places of its prompt whose states are pinned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from pararnn_server.http.schemas.base import CacheTtl, PromptCacheBreakpoint, TextPart
from pararnn_server.http.schemas.chat import MessageFields
from pararnn_server.http.schemas.prompt_cache import PromptCacheOptions
from pararnn_server.http.schemas.response_items import AnyItem, Item
from pararnn_server.text.conversation import Message
from pararnn_server.text.prompt_places import TextPlace

_SECONDS: dict[CacheTtl, float] = {"5m": 300.0, "30m": 1800.0, "1h": 3600.0}
_DEFAULT_TTL: CacheTtl = "30m"
# OpenAI's rule: the latest four count, and the implicit state is one of them.
MOST_PLACES = 4


def is_explicit(options: PromptCacheOptions | None) -> bool:
    """Return True if the request wants no states kept but those that it marks."""
    return options is not None and options.mode == "explicit"


def marked_places(
    messages: Sequence[MessageFields], options: PromptCacheOptions | None, most: int = MOST_PLACES - 1
) -> list[TextPlace]:
    """Return the latest marked places of a conversation, in its order.

    most: of them beside the implicit state; without that state one more.
    """
    marks = [(number, end, mark.ttl) for number, each in enumerate(messages) for end, mark in _marks(each)]
    return _latest(marks, options, most)


def marked_items(
    items: Sequence[AnyItem], messages: Sequence[Message], options: PromptCacheOptions | None
) -> list[TextPlace]:
    """Return the latest marked places of the messages that were made of these items."""
    # Calls join the assistant's messages; of the others each is an item of its own.
    own = [each for each in items if isinstance(each, Item) and each.role != "assistant"]
    numbers = [number for number, each in enumerate(messages) if each["role"] not in ("assistant", "tool")]
    marks = [
        (number, mark.end, mark.ttl) for number, each in zip(numbers, own, strict=True) for mark in each.marks
    ]
    return _latest(marks, options, MOST_PLACES - 1)


def _latest(
    marks: Sequence[tuple[int, int, CacheTtl | None]], options: PromptCacheOptions | None, most: int
) -> list[TextPlace]:
    ttl = (options.ttl if options is not None else None) or _DEFAULT_TTL
    places = [TextPlace(number, end, _SECONDS[own or ttl]) for number, end, own in marks]
    return places[-(most + 1 if is_explicit(options) else most) :]


def _marks(message: MessageFields) -> Iterator[tuple[int, PromptCacheBreakpoint]]:
    """Yield the marks of a message, each with the characters of its content up to there."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    parts: Sequence[TextPart] = content
    for end, part in zip(accumulate(len(part.text) for part in parts), parts, strict=True):
        if part.prompt_cache_breakpoint is not None:
            yield end, part.prompt_cache_breakpoint
