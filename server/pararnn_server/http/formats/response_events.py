"""Events of a stream of /v1/responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pararnn_server.http.formats.base import compact
from pararnn_server.http.schemas.response_items import output_text


class ResponseEvents:
    """Writes events, numbered and named."""

    def __init__(self) -> None:
        self._number = 0

    def opening(self, response: Mapping[str, Any]) -> str:
        """The response, before it has any item."""
        created = self.event("response.created", response=response)
        return created + self.event("response.in_progress", response=response)

    def item_begins(self, index: int, item: Mapping[str, Any]) -> str:
        """An item without its text, and the part of a message that the text will be."""
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        empty = {**item, "status": "in_progress", **empty}
        added = self.event("response.output_item.added", output_index=index, item=empty)
        if item["type"] != "message":
            return added
        return added + self._of_text("response.content_part.added", index, item, part=output_text(""))

    def compaction(self, index: int, item: Mapping[str, Any]) -> str:
        """A compaction item, first without its content, which is large."""
        empty = {**item, "encrypted_content": ""}
        added = self.event("response.output_item.added", output_index=index, item=empty)
        return added + self.event("response.output_item.done", output_index=index, item=item)

    def delta(self, index: int, item: Mapping[str, Any], text: str) -> str:
        """The next piece of a message or of the arguments of a call."""
        if item["type"] == "message":
            return self._of_text("response.output_text.delta", index, item, delta=text, logprobs=[])
        kind = "response.function_call_arguments.delta"
        return self.event(kind, item_id=item["id"], output_index=index, delta=text)

    def item_ends(self, index: int, item: Mapping[str, Any]) -> str:
        """An item, whole."""
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            done = self._of_text("response.output_text.done", index, item, text=text, logprobs=[])
            done += self._of_text("response.content_part.done", index, item, part=output_text(text))
        else:
            done = self.event(
                "response.function_call_arguments.done",
                item_id=item["id"],
                output_index=index,
                name=item["name"],
                arguments=item["arguments"],
            )
        return done + self.event("response.output_item.done", output_index=index, item=item)

    def event(self, kind: str, **fields: Any) -> str:
        """An event of any kind."""
        data = compact({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return f"event: {kind}\ndata: {data}\n\n"

    def _of_text(self, kind: str, index: int, item: Mapping[str, Any], **fields: Any) -> str:
        return self.event(kind, item_id=item["id"], output_index=index, content_index=0, **fields)
