"""The same conversation with harmless texts, by which forged control tokens are noticed."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.conversation import Conversation, Message
from pararnn_server.tools.tool import Tool

Shape: TypeAlias = tuple[Partition, Sequence[bool], tuple[str, ...]]

_MAX_SHAPES = 256
_MAX_MESSAGES = 64
# Nothing that could be a part of a mark such as <|user|>.
_OPTION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Members of calls, and words of JSON Schema: templates read them, and take one path or another by them.
_KEPT_WORDS = frozenset(
    re.findall(
        r"\S+",
        "id type function name arguments"
        " $defs $ref additionalProperties allOf anyOf array boolean const default definitions description"
        " enum examples format integer items maxItems maxLength maximum minItems minLength minimum null"
        " nullable number object oneOf parameters pattern properties required strict string title",
    )
)


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


def shape_of(plain: Conversation, partition: Partition, *how: bool) -> Shape | None:
    """Return the shape that a template may see of a conversation; None for one too long to come twice.

    how: everything else that the rendering depends on.
    """
    if len(plain.messages) > _MAX_MESSAGES:
        return None
    shapes = [repr(tuple(each.values())) for each in plain.messages]
    if plain.tools:
        # A digest, because schemas of tools may be long.
        shapes.append(sha256(repr([tool.function for tool in plain.tools]).encode()).hexdigest())
    if plain.variables:
        shapes.append(sha256(repr([*plain.variables.items()]).encode()).hexdigest())
    return partition, how, tuple(shapes)


def harmless(conversation: Conversation) -> Conversation:
    """Replace every text by one that has no meaning, but is empty or begins with a space where it was so.

    Equal texts of tools and calls stay equal, because templates compare them, and words of JSON Schema stay.
    Of variables single words stay, too, because templates choose by them.
    """
    words = _Words()
    return Conversation(
        [replaced(each, _harmless, words.value) for each in conversation.messages],
        [replaced_tool(tool, words.value) for tool in conversation.tools],
        {name: with_texts(value, words.option) for name, value in conversation.variables.items()},
    )


def replaced(given: Message, replace: Callable[[str], str], replace_json: Callable[[Any], Any]) -> Message:
    """Replace the texts of a message that a user may choose. replace_json: for whole JSON values."""
    made = given.copy()
    if given["content"] is not None:
        made["content"] = replace(given["content"])
    if "name" in given:
        made["name"] = replace(given["name"])
    if "tool_calls" in given:
        made["tool_calls"] = replace_json(given["tool_calls"])
    if "tool_call_id" in given:
        made["tool_call_id"] = replace_json(given["tool_call_id"])
    return made


def replaced_tool(tool: Tool, replace_json: Callable[[Any], Any]) -> Tool:
    """Replace the texts of a tool."""
    # The names of its own members are not a user's.
    return Tool({member: replace_json(value) for member, value in tool.function.items()})


def with_texts(value: Any, replace: Callable[[str], str]) -> Any:
    """Return a JSON value whose texts, names of members included, are replaced."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return {replace(key): with_texts(member, replace) for key, member in value.items()}
    return [with_texts(member, replace) for member in value] if isinstance(value, list) else value


def texts_of(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value, names of members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from (text for member in value.values() for text in texts_of(member))
    elif isinstance(value, list):
        yield from (text for member in value for text in texts_of(member))


class _Words:
    """Harmless words for the texts of JSON values, the same for the same text."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def value(self, value: Any) -> Any:
        """Return the value with harmless texts and numbers."""
        if isinstance(value, dict):
            return {self._word(key): self.value(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.value(member) for member in value]
        if isinstance(value, str):
            return self._word(value)
        # Numbers are a user's too. Templates ask only whether they are there.
        return value if value is None or isinstance(value, bool) else int(bool(value))

    def option(self, text: str) -> str:
        """Return the text if it is one short word, else a harmless one."""
        return text if _OPTION.fullmatch(text) else self._word(text)

    def _word(self, text: str) -> str:
        if text in _KEPT_WORDS:
            return text
        if not text or text.isspace():
            return text[:1]
        number = self._words.setdefault(text, str(len(self._words)))
        # Some templates demand nine characters of a call's id.
        return _spaced(text, number.rjust(min(len(text), 9), "x"))


def _harmless(text: str) -> str:
    if not text or text.isspace():
        # Templates test for empty messages and strip spaces: both must take the same path.
        return text[:1]
    return _spaced(text, "x")


def _spaced(text: str, word: str) -> str:
    """Return the word, with a space before and behind it where the text has one."""
    before, after = text[:1], text[-1:]
    return f"{before if before.isspace() else ''}{word}{after if after.isspace() else ''}"
