"""Messages to token ids, so that what a user writes can never act as a control token."""

from __future__ import annotations

import re
import secrets
from array import array
from collections.abc import Sequence
from typing import Protocol

from pararnn_server.chat_template import ChatTemplate, Message
from pararnn_server.encoded_prefixes import EncodedPrefixes
from pararnn_server.errors import BadRequest
from pararnn_server.state_cache import Partition
from pararnn_server.tokenizer import OpenText, Tokenizer


class Utterance(Protocol):
    """One message of a conversation."""

    @property
    def role(self) -> str:
        """system, developer, user or assistant."""

    @property
    def text(self) -> str:
        """What was said."""


class ChatPrompts:
    """template None: the model has none, and every call is a BadRequest."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self.template = template
        self._names = sorted(tokenizer.special_ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        self._encoded = EncodedPrefixes()

    async def encode(
        self, bodies: Sequence[Utterance], partition: Partition, *, continues: bool = False
    ) -> Sequence[int]:
        """continues: the ids follow a reply that is already in the session. Raises BadRequest.

        partition: who may notice that the messages, or some of them, were here before.
        """
        template = self._usable(continues)
        seal = _Seal(self._names)
        messages = self._messages(bodies, seal)
        text = template.render_delta(messages) if continues else template.render(messages)
        return (await self._encode_open(text, seal, partition)).ids

    async def history(self, bodies: Sequence[Utterance], reply: str, partition: Partition) -> Sequence[int]:
        """What `encode` begins with for these messages, this reply to them, and any user message more.

        Raises BadRequest.
        """
        template = self._usable(continues=False)
        seal = _Seal(self._names)
        messages = self._messages(bodies, seal)
        messages.append({"role": "assistant", "content": self._sealed(reply, seal)})
        messages.append({"role": "user", "content": seal.mark})
        text, _, _ = template.render(messages).partition(seal.mark)
        ids, num_stable = await self._encode_open(text, seal, partition)
        return ids[:num_stable]

    async def _encode_open(self, text: str, seal: _Seal, partition: Partition) -> OpenText:
        """Between special tokens piece by piece, where that gives the ids of the whole."""
        if self._special is None or not (seal.used or self._tokenizer.seams_hold):
            return await self._tokenizer.encode_open(text)
        # A sealed text never comes again.
        known, ids = ("", array("i")) if seal.used else self._encoded.longest(partition, text)
        start = len(known)
        for found in self._special.finditer(text, start):
            ids.extend((await self._encode_plain(seal.broken(text[start : found.start()]))).ids)
            ids.append(self._tokenizer.special_ids[found[0]])
            start = found.end()
        if not seal.used:
            self._encoded.put(partition, text[:start], ids, instead=known)
        rest = await self._encode_plain(seal.broken(text[start:]))
        num_stable = len(ids) + rest.num_stable
        ids.extend(rest.ids)
        return OpenText(ids, num_stable)

    def _usable(self, continues: bool) -> ChatTemplate:
        if self.template is None:
            raise BadRequest("This model has no chat template: use /v1/completions.", param="messages")
        if continues and not self.template.goes_into_sessions:
            message = "This model's chat template cannot be rendered turn by turn: use /v1/completions."
            raise BadRequest(message, param="session_id")
        return self.template

    def _messages(self, bodies: Sequence[Utterance], seal: _Seal) -> list[Message]:
        roles = ["system" if body.role == "developer" else body.role for body in bodies]
        texts = [body.text for body in bodies]
        if self._special is not None and self._special.search("".join(texts)):
            texts = [self._sealed(text, seal) for text in texts]
        return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]

    def _sealed(self, text: str, seal: _Seal) -> str:
        return text if self._special is None else self._special.sub(seal.put, text)

    async def _encode_plain(self, text: str) -> OpenText:
        return await self._tokenizer.encode_open(text, special=False)


class _Seal:
    """Stands in for the names of special tokens while a template runs; nobody can guess it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._open = f"\ufdd0{secrets.token_hex(8)}:"
        self.mark = f"{self._open}\ufdd1"
        """Stands for a text that is not known yet."""
        self._pattern = re.compile(re.escape(self._open) + r"(\d+)\ufdd1")
        self.used = False

    def put(self, found: re.Match[str]) -> str:
        self.used = True
        return f"{self._open}{self._names.index(found[0])}\ufdd1"

    def broken(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._names[int(found[1])], text)
