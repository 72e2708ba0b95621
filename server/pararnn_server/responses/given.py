"""The input of a request to items, with those that it only names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from pararnn_server.errors import BadRequest, Expired, NotFound, Timeout, TooLarge
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.schemas.response_input import InputItem, ItemReference, MessageItem
from pararnn_server.http.schemas.response_items import (
    CALL,
    CALL_OUTPUT,
    MESSAGE,
    AnyItem,
    CallItem,
    CallOutputItem,
    Item,
    item_id,
    response_of,
)
from pararnn_server.http.schemas.response_tools import FunctionCallItem, FunctionCallOutputItem
from pararnn_server.responses import records


async def items_of(
    context: RequestContext,
    given: str | Sequence[InputItem],
    response_id: str,
    *,
    may_be_empty: bool = False,
) -> list[AnyItem]:
    """Return the input, oldest first, as items of this response.

    Reasoning of other models and compactions are left out. may_be_empty: of an input with a compaction.
    Raises BadRequest for a name that no stored item of the owner has, and for an input without a message;
    TooLarge; Timeout.
    """
    if isinstance(given, str):
        return [Item(item_id(response_id, 0), "user", given)]
    stored = _StoredItems(context)
    found: list[AnyItem] = []
    for position, entry in enumerate(given):
        if isinstance(entry, MessageItem | FunctionCallItem | FunctionCallOutputItem):
            found.append(_item(entry, response_id, len(found)))
        elif isinstance(entry, ItemReference):
            # Each name may cost a read of the store, and a request may hold thousands.
            if time.monotonic() > context.deadline:
                raise Timeout("the request took longer than its timeout")
            was = await stored.named(entry.id, f"input.{position}.id")
            found.append(replace(was, id=item_id(response_id, len(found), _kind_of(was))))
    if not found and not may_be_empty:
        raise BadRequest("input: it holds no message.", param="input")
    return found


def _item(
    entry: MessageItem | FunctionCallItem | FunctionCallOutputItem, response_id: str, index: int
) -> AnyItem:
    if isinstance(entry, MessageItem):
        return Item(item_id(response_id, index), entry.role, entry.text, entry.marks)
    if isinstance(entry, FunctionCallItem):
        return CallItem(item_id(response_id, index, CALL), entry.call_id, entry.name, entry.arguments)
    return CallOutputItem(item_id(response_id, index, CALL_OUTPUT), entry.call_id, entry.text)


def _kind_of(item: AnyItem) -> str:
    if isinstance(item, Item):
        return MESSAGE
    return CALL if isinstance(item, CallItem) else CALL_OUTPUT


class _StoredItems:
    """Items of stored responses by their ids. Each response is read once.

    What is read of them, and the text that is taken, have at most the bytes of the largest body.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._max_bytes = context.settings.max_body_bytes
        self._responses: dict[str, dict[str, AnyItem]] = {}
        self._num_read = self._num_taken = 0

    async def named(self, name: str, param: str) -> AnyItem:
        """Return the item of a name. Raises BadRequest or TooLarge."""
        response_id = response_of(name)
        item = None if response_id is None else (await self._items_of(response_id, param)).get(name)
        if item is None:
            message = f"{param}: no stored item has this id; send the item itself."
            raise BadRequest(message, param=param, code="item_not_found")
        # The text of an item that is named twice is there once, but the prompt has it twice.
        self._num_taken += item.num_chars
        self._check(self._num_taken, param)
        return item

    async def _items_of(self, response_id: str, param: str) -> dict[str, AnyItem]:
        if response_id not in self._responses:
            self._responses[response_id] = await self._read(response_id, param)
        return self._responses[response_id]

    async def _read(self, response_id: str, param: str) -> dict[str, AnyItem]:
        try:
            response = await self._context.model.ask(records.load, response_id, self._context.owner)
        except (NotFound, Expired):
            return {}
        # A short item may lie in a large response, so what is read is bounded too.
        self._num_read += response.nbytes
        self._check(self._num_read, param)
        return {item.id: item for item in (*response.input, *response.output)}

    def _check(self, num_bytes: int, param: str) -> None:
        if num_bytes > self._max_bytes:
            message = f"{param}: the items named take more than {self._max_bytes} bytes; name fewer."
            raise TooLarge(message, param=param)
