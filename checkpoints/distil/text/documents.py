"""Documents of training text, and which of them are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

HELD_OUT_PER_THOUSAND = 20
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"


@dataclass(frozen=True)
class Document:
    """key: names the source text; documents made of the same source text share it."""

    key: str
    text: str
    is_chat: bool = False

    @property
    def is_held_out(self) -> bool:
        """Decided by the key alone, so that one source text never is on both sides."""
        digest = hashlib.sha256(self.key.encode()).digest()
        return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_THOUSAND


Turn = tuple[str, str]
"""(role, content)."""


def chat_text(turns: Sequence[Turn]) -> str:
    """The form in which SmolLM2 was trained on chats."""
    return "".join(f"{START_OF_TURN}{role}\n{content}{END_OF_TURN}\n" for role, content in turns)


def prompt_text(turns: Sequence[Turn]) -> str:
    """The turns, then the start of the reply."""
    return f"{chat_text(turns)}{START_OF_TURN}assistant\n"


def exchange(key: str, question: str, answer: str) -> Document:
    """A chat of one question and its answer."""
    return Document(key, chat_text((("user", question), ("assistant", answer))), is_chat=True)
