"""Chats without a session: the conversation that a client will send back is read ahead."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pararnn_server.engine.engine import Engine
from pararnn_server.errors import ServerError
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.conversation import NO_VARIABLES, Message
from pararnn_server.tools.tool import Tool

logger = logging.getLogger(__name__)


class ChatReadahead:
    """The text of a reply, encoded with what surrounds it, may give other ids than were generated."""

    def __init__(self, chat: ChatPrompts, engine: Engine) -> None:
        self._chat = chat
        self._engine = engine

    async def follow(
        self,
        partition: Partition,
        messages: Sequence[Message],
        reply: Message,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] = NO_VARIABLES,
    ) -> None:
        """Promise the state after a reply, as the next request with the same tools and variables encodes it.

        Awaited before the client learns that the reply has ended, so that its next request finds the promise
        whatever the server has to do.
        """
        try:
            ids = await self._chat.encode_shared_prefix(messages, reply, partition, tools, variables)
        except ServerError:
            # The template takes the messages but not a reply after them: nothing will be sent back.
            return
        except Exception:
            logger.exception("a conversation cannot be read ahead")
            return
        self._engine.read_ahead(partition, ids)
