"""Items of a conversation of responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ITEM_ID = re.compile(r"msg_([0-9a-f]{32})_\d{1,9}")


@dataclass(frozen=True, slots=True)
class Item:
    """One message. role: as the client wrote it."""

    id: str
    role: str
    text: str

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


def item_id(response_id: str, index: int) -> str:
    """Name an item of a response so that the response is found by it. index: input first, then output."""
    # The response is in the name, so that no index of items is kept.
    return f"msg_{response_id.removeprefix('resp_')}_{index}"


def response_of(name: str) -> str | None:
    """Return the id of the response that an item belongs to; None for a name that is no item's."""
    found = _ITEM_ID.fullmatch(name)
    return None if found is None else f"resp_{found[1]}"


def output_text(text: str) -> dict[str, Any]:
    """Return the fields of the schema `OutputText`."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def stored_item(body: Mapping[str, Any]) -> Item:
    """Return the item of a body that `Item.body` made, or of a message that was given."""
    return Item(body["id"], body["role"], "".join(part["text"] for part in body["content"]))
