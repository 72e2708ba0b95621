"""The same conversation with harmless texts, by which forged control tokens are noticed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_template import Message, message

Shape: TypeAlias = tuple[Partition, bool, bool, tuple[str, ...]]

_MAX_SHAPES = 256
_MAX_MESSAGES = 64


class KnownMarks:
    """Control tokens of conversations by their shape, so that common shapes are rendered once.

    The shape holds no text of a user, and what one partition left, no other finds. Of too many shapes the
    least recently used goes.
    """

    def __init__(self) -> None:
        self._marks: OrderedDict[Shape, list[int]] = OrderedDict()

    def get(self, shape: Shape | None) -> list[int] | None:
        """Return the control tokens of a shape, if they are known."""
        if shape is None or shape not in self._marks:
            return None
        self._marks.move_to_end(shape)
        return self._marks[shape]

    def put(self, shape: Shape | None, marks: list[int]) -> None:
        """Remember the control tokens of a shape."""
        if shape is None:
            return
        self._marks[shape] = marks
        if len(self._marks) > _MAX_SHAPES:
            self._marks.popitem(last=False)


def shape_of(
    plain: Sequence[Message], partition: Partition, continues: bool, continues_last: bool
) -> Shape | None:
    """Return the shape that a template may see of messages; None for too many to be seen twice."""
    if len(plain) > _MAX_MESSAGES:
        return None
    return partition, continues, continues_last, tuple(repr(tuple(each.values())) for each in plain)


def harmless(messages: Sequence[Message]) -> list[Message]:
    """Replace every text by one that has no meaning, but is empty or begins with a space where it was so."""
    return [replaced(each, _harmless) for each in messages]


def replaced(given: Message, replace: Callable[[str], str]) -> Message:
    """Replace the texts of a message that a user may choose."""
    name = given.get("name")
    return message(given["role"], replace(given["content"]), None if name is None else replace(name))


def _harmless(text: str) -> str:
    if not text or text.isspace():
        # Templates test for empty messages and strip spaces: both must take the same path.
        return text[:1]
    before, after = text[:1], text[-1:]
    return f"{before if before.isspace() else ''}x{after if after.isspace() else ''}"
