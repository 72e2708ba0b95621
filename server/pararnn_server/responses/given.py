"""The input of a request to items, with those that it only names."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pararnn_server.errors import BadRequest, Expired, NotFound, Timeout
from pararnn_server.responses import records
from pararnn_server.responses.items import Item, item_id, response_of
from pararnn_server.schemas.responses import InputItem, ItemReference, MessageItem
from pararnn_server.service import Serving


async def items_of(
    given: str | Sequence[InputItem], response_id: str, owner: str, ends: float, serving: Serving
) -> list[Item]:
    """Return the messages, oldest first, as items of this response. Reasoning of other models is left out.

    ends: time.monotonic() at which the request fails.
    Raises BadRequest for a name that no stored item of the owner has, and for an input without a message;
    Timeout.
    """
    if isinstance(given, str):
        return [Item(item_id(response_id, 0), "user", given)]
    stored = _StoredItems(owner, serving)
    found: list[Item] = []
    for position, entry in enumerate(given):
        if isinstance(entry, MessageItem):
            found.append(Item(item_id(response_id, len(found)), entry.role, entry.text))
        elif isinstance(entry, ItemReference):
            if time.monotonic() > ends:
                raise Timeout("the request took longer than its timeout")
            was = await stored.named(entry.id, f"input.{position}.id")
            found.append(Item(item_id(response_id, len(found)), was.role, was.text))
    if not found:
        raise BadRequest("input: it holds no message.", param="input")
    return found


class _StoredItems:
    """Items of stored responses by their ids. Keeps the last response: its items are named one by one."""

    def __init__(self, owner: str, serving: Serving) -> None:
        self._owner = owner
        self._serving = serving
        self._response_id: str | None = None
        self._items: dict[str, Item] = {}

    async def named(self, name: str, param: str) -> Item:
        response_id = response_of(name)
        if response_id is not None and response_id != self._response_id:
            self._items = await self._items_of(response_id)
            self._response_id = response_id
        item = self._items.get(name) if response_id is not None else None
        if item is None:
            message = f"{param}: no stored item has this id; send the item itself."
            raise BadRequest(message, param=param, code="item_not_found")
        return item

    async def _items_of(self, response_id: str) -> dict[str, Item]:
        try:
            response = await self._serving.ask(records.load, response_id, self._owner)
        except (NotFound, Expired):
            return {}
        return {item.id: item for item in (*response.input, *response.output)}
