"""Items of a conversation of responses: messages, calls of tools, and their results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from pararnn_server.http.schemas.base import CacheTtl

MESSAGE, CALL, CALL_OUTPUT = "msg", "fc", "fco"
"""Beginnings of the names of items."""

_ITEM_ID = re.compile(rf"(?:{MESSAGE}|{CALL}|{CALL_OUTPUT})_([0-9a-f]{{32}})_\d{{1,9}}")


class TextMark(NamedTuple):
    """A mark after `end` characters of a text. ttl: None is that of the request."""

    end: int
    ttl: CacheTtl | None


@dataclass(frozen=True, slots=True)
class Item:
    """One message. role: as the client wrote it. marks: of the request alone; they are not stored."""

    id: str
    role: str
    text: str
    marks: tuple[TextMark, ...] = ()

    @property
    def num_chars(self) -> int:
        """Characters of a user's or the model's choice."""
        return len(self.text)

    def body(self) -> dict[str, Any]:
        """Return the fields of the schema `StoredItem`."""
        kind = {"type": "input_text", "text": self.text}
        if self.role == "assistant":
            # OpenAI's types differ by role: what was said by the model is output.
            kind = output_text(self.text)
        return {
            "id": self.id,
            "type": "message",
            "status": "completed",
            "role": self.role,
            "content": [kind],
        }


@dataclass(frozen=True, slots=True)
class CallItem:
    """A call of a tool by the model. arguments: the text of a JSON object."""

    id: str
    call_id: str
    name: str
    arguments: str

    @property
    def num_chars(self) -> int:
        """Characters of a user's or the model's choice."""
        return len(self.name) + len(self.arguments)

    def body(self, status: str = "completed") -> dict[str, Any]:
        """Return the fields of the schema `FunctionCall`."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
        }


@dataclass(frozen=True, slots=True)
class CallOutputItem:
    """The result of a call."""

    id: str
    call_id: str
    output: str

    @property
    def num_chars(self) -> int:
        """Characters of a user's or the model's choice."""
        return len(self.output)

    def body(self) -> dict[str, Any]:
        """Return the fields of the schema `StoredCallOutput`."""
        return {
            "id": self.id,
            "type": "function_call_output",
            "status": "completed",
            "call_id": self.call_id,
            "output": self.output,
        }


AnyItem: TypeAlias = Item | CallItem | CallOutputItem


def item_id(response_id: str, index: int, kind: str = MESSAGE) -> str:
    """Name an item of a response so that the response is found by it. index: input first, then output."""
    # The response is in the name, so that no index of items is kept.
    return f"{kind}_{response_id.removeprefix('resp_')}_{index}"


def response_of(name: str) -> str | None:
    """Return the id of the response that an item belongs to; None for a name that is no item's."""
    found = _ITEM_ID.fullmatch(name)
    return None if found is None else f"resp_{found[1]}"


def output_text(text: str) -> dict[str, Any]:
    """Return the fields of the schema `OutputText`."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def stored_item(body: Mapping[str, Any]) -> AnyItem:
    """Return the item of a body that an item made, or of one that a response gave."""
    # The first version stored messages only, without a type.
    kind = body.get("type", "message")
    if kind == "function_call":
        return CallItem(body["id"], body["call_id"], body["name"], body["arguments"])
    if kind == "function_call_output":
        return CallOutputItem(body["id"], body["call_id"], body["output"])
    return Item(body["id"], body["role"], "".join(part["text"] for part in body["content"]))
