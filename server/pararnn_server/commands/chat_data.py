"""Chats for training: one JSON object with `messages` a line, as hosted fine-tuning takes them."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pararnn_core.storage.untrusted_file import parse_json
from pararnn_core.tuning.chat_loss import Chat
from pararnn_server.commands.failure import CommandFailed
from pararnn_server.errors import BadRequest
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.conversation import Message, message
from pararnn_server.text.tokenizer import Tokenizer

MAX_LINE_BYTES = 4 << 20
# Five bytes an id are kept.
MAX_IDS = 16 << 20
_ROLES = ("system", "developer", "user", "assistant")
_OF_TOOLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
_ANYBODY = Partition(owner="")


class BadLine(Exception):
    """A reason why a line is no chat."""


@dataclass(frozen=True)
class ChatData:
    """The chats of a file. num_cut: those that were longer. num_systems: those with a system message first.

    num_left_out: those in which the first ids, up to the greatest length, have nothing of the assistant.
    """

    chats: list[Chat]
    num_cut: int
    num_left_out: int
    num_systems: int


class ChatEncoder:
    """Encodes chats as a session of a server reads them, turn by turn. ends: ids that end a reply."""

    def __init__(self, prompts: ChatPrompts, tokenizer: Tokenizer, ends: tuple[int, ...]) -> None:
        self._prompts, self._tokenizer, self._ends = prompts, tokenizer, ends

    async def encode(self, messages: list[tuple[Message, bool]]) -> Chat:
        """Return the ids. messages: with True for those whose text is trained. Raises BadLine, BadRequest."""
        ids, flags, new = array("i"), bytearray(), list[Message]()
        learns_end = False
        for each, is_trained in messages:
            if each["role"] != "assistant":
                new.append(each)
                continue
            if not new:
                raise BadLine("an assistant message must follow one of the user")
            # Each turn is encoded by itself, as a server does that knows only the state of the turns before.
            prompt = await self._prompts.encode(new, _ANYBODY, continues=bool(ids))
            self._add(ids, flags, prompt, learns_end and prompt[0] in self._ends)
            reply = self._tokenizer.plain_ids(each["content"] or "")
            ids.extend(reply)
            flags.extend(bytes([is_trained]) * len(reply))
            new, learns_end = [], is_trained
        end = await self._end_of_chat()
        if learns_end and end is not None:
            ids.append(end)
            flags.append(1)
        return Chat(ids, bytes(flags))

    @staticmethod
    def _add(ids: array[int], flags: bytearray, prompt: Any, learns_first: bool) -> None:
        ids.extend(prompt)
        flags.extend(bytes([learns_first]) + bytes(len(prompt) - 1))

    async def _end_of_chat(self) -> int | None:
        """Return the id with which a reply ends: the one that the template writes, or the model's EOS."""
        follow = await self._prompts.encode([message("user", "x")], _ANYBODY, continues=True)
        return follow[0] if follow[0] in self._ends else next(iter(self._ends), None)


def read_chats(
    path: Path, encoder: ChatEncoder, max_length: int, system: str | None = None, max_ids: int = MAX_IDS
) -> ChatData:
    """Read a file. Raises CommandFailed, which names the line that is wrong; OSError.

    max_length: ids of a chat beyond it are cut. system: a system message that is put before every chat.
    """
    return asyncio.run(_read(path, encoder, max_length, system, max_ids))


async def _read(
    path: Path, encoder: ChatEncoder, max_length: int, system: str | None, max_ids: int
) -> ChatData:
    chats: list[Chat] = []
    num_cut = num_left_out = num_systems = num_ids = 0
    for number, line in _lines(path):
        try:
            messages = _messages(line)
            if system is not None:
                messages = [(message("system", system), False), *_without_system(messages)]
            chat = await encoder.encode(messages)
        except (BadLine, BadRequest) as error:
            raise CommandFailed(f"{path}, line {number}: {error}") from None
        num_systems += messages[0][0]["role"] == "system"
        num_cut += len(chat.ids) > max_length
        chat = Chat(chat.ids[:max_length], chat.is_target[:max_length])
        num_left_out += not chat.num_targets
        if chat.num_targets:
            chats.append(chat)
            num_ids += len(chat.ids)
        if num_ids > max_ids:
            raise CommandFailed(
                f"{path}, line {number}: there are more than {max_ids:,} tokens up to here. A state learns a"
                " manner, not facts: some hundred chats are enough"
            )
    return ChatData(chats, num_cut, num_left_out, num_systems)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise CommandFailed(f"{path}, line {number}: is longer than {MAX_LINE_BYTES:,} bytes")
            if line.strip():
                yield number, line.removeprefix(b"\xef\xbb\xbf")


def _messages(line: bytes) -> list[tuple[Message, bool]]:
    try:
        chat = parse_json(line)
    except ValueError as error:
        raise BadLine(f"it is not JSON: {error}") from None
    entries = chat.get("messages") if isinstance(chat, dict) else None
    if not isinstance(entries, list) or not entries:
        raise BadLine('it must be an object such as {"messages": [{"role": "user", "content": "..."}, ...]}')
    _refuse_tools(chat, "")
    messages = [_message(number, entry) for number, entry in enumerate(entries)]
    if not any(is_trained for _, is_trained in messages):
        raise BadLine("no message of the assistant can be learned from")
    return messages


def _message(number: int, entry: Any) -> tuple[Message, bool]:
    place = f"messages[{number}]"
    if not isinstance(entry, dict) or entry.get("role") not in _ROLES:
        raise BadLine(f"{place}: role must be one of {', '.join(_ROLES)}")
    _refuse_tools(entry, f"{place}.")
    content, weight = _text(entry.get("content")), entry.get("weight", 1)
    if content is None:
        raise BadLine(f"{place}.content: must be text")
    # `type`, not isinstance: true is an integer in Python, and none of the format.
    if type(weight) is not int or weight not in (0, 1):
        raise BadLine(f"{place}.weight: must be 0 or 1")
    return message(entry["role"], content), entry["role"] == "assistant" and weight == 1


def _refuse_tools(fields: Mapping[str, Any], place: str) -> None:
    for name in _OF_TOOLS:
        if fields.get(name):
            raise BadLine(f"{place}{name}: a state is not tuned for tools: leave such chats out")


def _text(content: Any) -> str | None:
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if len(known) == len(texts) else None


def _without_system(messages: list[tuple[Message, bool]]) -> list[tuple[Message, bool]]:
    return messages[1:] if messages[0][0]["role"] == "system" else messages
