"""The interface between a terminal chat and a model, in this process or on a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SessionFacts:
    """num_tokens: taken in so far. state_bytes: the session's state. details: more rows of name and value."""

    num_tokens: int
    state_bytes: int
    details: tuple[tuple[str, str], ...] = ()


class Conversation(Protocol):
    """One session, continued from reply to reply."""

    def reply(self, text: str) -> Iterator[str]:
        """Pieces of the answer to `text`. To be read to its end, before which `stop` makes it come soon."""

    def stop(self) -> None:
        """End the running reply, keeping what was shown of it. May be called from another thread."""

    def reset(self) -> None:
        """Start over with an empty session."""

    def facts(self) -> SessionFacts:
        """The session after the last reply."""

    def close(self) -> None:
        """Give up the session."""

    @property
    def continues_text(self) -> bool:
        """True if an empty message continues the text."""

    @property
    def completion_tokens(self) -> int:
        """Tokens of the last reply."""
