"""What a conversation of responses is made of."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.schemas.responses import InputItem


@dataclass(frozen=True, slots=True)
class Item:
    """One message. role: as the client wrote it."""

    id: str
    role: str
    text: str

    def body(self) -> dict[str, Any]:
        """As the schema `StoredItem` says."""
        kind = {"type": "input_text", "text": self.text}
        if self.role == "assistant":
            kind = output_text(self.text)
        return {
            "id": self.id,
            "type": "message",
            "status": "completed",
            "role": self.role,
            "content": [kind],
        }


def new_item_id() -> str:
    """128 random bits."""
    return f"msg_{secrets.token_hex(16)}"


def output_text(text: str) -> dict[str, Any]:
    """As the schema `OutputText` says."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def items_of(given: str | Sequence[InputItem]) -> list[Item]:
    """The input of a request."""
    if isinstance(given, str):
        return [Item(new_item_id(), "user", given)]
    return [Item(new_item_id(), item.role, item.text) for item in given]


def stored_item(body: Mapping[str, Any]) -> Item:
    """Of a body as `Item.body` made it, or of a message that was given."""
    return Item(body["id"], body["role"], "".join(part["text"] for part in body["content"]))
