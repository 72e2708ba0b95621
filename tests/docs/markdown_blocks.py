"""The fenced blocks of a document, and the reply that a document shows below a command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
COMMANDS = ("bash", "python")


@dataclass(frozen=True)
class Block:
    """language: the word behind the fence; line: of the block's first line, from 1."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Example:
    """A command, and the reply that the document shows for it, if it shows one."""

    command: Block
    reply: Block | None

    def __str__(self) -> str:
        return f"line {self.command.line}"


def blocks(text: str) -> list[Block]:
    """Return all fenced blocks of a document."""
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _FENCE.finditer(text)
    ]


def examples(document: str) -> list[Example]:
    """Return the commands of a document, named from the repository's root, in order."""
    found = blocks((ROOT / document).read_text())
    unknown = [block for block in found if block.language not in (*COMMANDS, "json", "text", "mermaid")]
    assert not unknown, f"{document}: {unknown}"
    after = [*found[1:], None]
    return [
        Example(block, None if reply is None or reply.language in COMMANDS else reply)
        for block, reply in zip(found, after, strict=True)
        if block.language in COMMANDS
    ]
