"""Conversations that clients will send back: read ahead as they will be encoded then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pararnn_server.chat_prompt import ChatPrompts
from pararnn_server.chat_template import Message
from pararnn_server.engine import Engine
from pararnn_server.errors import BadRequest
from pararnn_server.state_cache import Partition

MAX_WAITING_CHARS = 4 << 20
POLL_SECONDS = 0.02


class _Exchange(NamedTuple):
    partition: Partition
    messages: Sequence[Message]
    reply: str

    @property
    def num_chars(self) -> int:
        return len(self.reply) + sum(len(message["content"]) for message in self.messages)


class HistoryReader:
    """The text of a reply, encoded with what surrounds it, may give other ids than were generated.

    For the event loop only. It encodes while the engine has nothing to do; of too many conversations the
    oldest are left out.
    """

    def __init__(self, chat: ChatPrompts, engine: Engine) -> None:
        self._chat = chat
        self._engine = engine
        self._waiting: deque[_Exchange] = deque()
        self._num_chars = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether every conversation that was left to it is read or handed on."""
        return self._task is None or self._task.done()

    def follow(self, partition: Partition, messages: Sequence[Message], reply: str) -> None:
        """A reply has ended; its client may send all of it back, and more."""
        exchange = _Exchange(partition, messages, reply)
        self._waiting.append(exchange)
        self._num_chars += exchange.num_chars
        while self._num_chars > MAX_WAITING_CHARS:
            self._num_chars -= self._waiting.popleft().num_chars
        if self.is_idle:
            self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while self._waiting:
            while self._engine.is_busy:
                await asyncio.sleep(POLL_SECONDS)
            if not self._waiting:
                return
            exchange = self._waiting.pop()
            self._num_chars -= exchange.num_chars
            try:
                ids = await self._chat.history(exchange.messages, exchange.reply, exchange.partition)
            except BadRequest:
                # The template takes the messages but not a reply after them: nothing will be sent back.
                continue
            self._engine.prefill_when_idle(exchange.partition, ids)
