"""The 200 held-out prompts: 50 facts with one short answer, and 150 typical questions of new users."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "held_out_prompts.jsonl"
ANSWER_CHARACTERS = 200


@dataclass(frozen=True)
class HeldOutPrompt:
    """A prompt. answers: all right ones; empty for a prompt that asks for no fact."""

    prompt: str
    answers: tuple[str, ...] = ()

    def is_right(self, reply: str) -> bool:
        """Return True if an answer appears as a word near the start of the reply."""
        start = reply[:ANSWER_CHARACTERS]
        return any(re.search(rf"(?<!\w){re.escape(a)}(?!\w)", start, re.IGNORECASE) for a in self.answers)


def held_out_prompts(file: Path = FILE) -> list[HeldOutPrompt]:
    """Read the prompts in the order of the file."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [HeldOutPrompt(row["prompt"], tuple(row.get("answers", ()))) for row in rows]


def plain(prompt: str) -> str:
    """Return only the letters, in lower case, and the digits, for comparison."""
    return " ".join(re.findall(r"[a-z0-9]+", prompt.lower()))
