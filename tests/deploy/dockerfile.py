"""A Dockerfile read as its instructions, enough to check what it refers to."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: FROM, COPY, ... and its text with line ends joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The text as a shell splits it, without --flags."""
        return [word for word in shlex.split(self.text) if not word.startswith("--")]


def read_dockerfile(path: Path) -> list[Instruction]:
    """All instructions in order."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [Instruction(name.upper(), text) for name, text in pairs]


def environment(instructions: list[Instruction]) -> dict[str, str]:
    """All variables that ENV sets."""
    pairs = (word.split("=", 1) for each in instructions if each.name == "ENV" for word in each.words)
    return dict(pairs)
