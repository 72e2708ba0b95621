"""Formats in which models write calls of tools: the texts around names and arguments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One way to write calls: `prefix head NAME middle ARGUMENTS tail [separator head ...] suffix`.

    name: as the setting --tool-format has it.
    mark: the beginning of prefix and head by which a call is known in a reply. "": calls begin the reply.
    prefix, suffix: around all calls of a reply. head, middle, tail: around the parts of one.
    separator: between two calls; None: a reply has one call at most.
    id_length: of the ids of calls, where templates take no others; 0: any.
    """

    name: str
    mark: str
    head: str
    middle: str
    tail: str
    separator: str | None
    prefix: str = ""
    suffix: str = ""
    id_length: int = 0

    @property
    def opening(self) -> str:
        """All before the name of the first call."""
        return self.prefix + self.head

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the format, in which control tokens of a tokenizer may be."""
        return (self.prefix, self.head, self.middle, self.tail, self.separator or "", self.suffix)

    def written(self, name: str, arguments: str) -> str:
        """Return the text of one call."""
        return f"{self.opening}{name}{self.middle}{arguments}{self.tail}{self.suffix}"
