"""Messages to token ids, so that what a user writes can never act as a control token."""

from __future__ import annotations

import re
import secrets
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar

from pararnn_server.concurrency.fair_threads import FairThreads
from pararnn_server.errors import BadRequest
from pararnn_server.state_cache.breakpoints import Breakpoint
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.conversation import NO_VARIABLES, Conversation, Message, message, tool_result
from pararnn_server.text.encoded_prefixes import EncodedPrefixes
from pararnn_server.text.harmless import (
    KnownMarks,
    harmless,
    replaced,
    replaced_tool,
    shape_of,
    texts_of,
    with_texts,
)
from pararnn_server.text.prompt_places import TextPlace, common_beginnings, with_mark
from pararnn_server.text.template_renderer import MAX_PROCESSES
from pararnn_server.text.text_encoder import OpenText, TokenLimit
from pararnn_server.text.tokenizer import Tokenizer
from pararnn_server.tools.formats import FORMATS, FormatName
from pararnn_server.tools.tool import Tool

P = ParamSpec("P")
T = TypeVar("T")

# Searched in less time than a thread may take to wake.
OFF_LOOP_CHARS = 64 << 10


class ChatPrompts:
    """template None: the model has none, and every call is a BadRequest.

    call_format: in which the model writes calls of tools; None: it is not known.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None, tool_format: FormatName = "auto"
    ) -> None:
        self._tokenizer = tokenizer
        self.template = template
        found = None if template is None else template.tools.call_format
        self.call_format = found if tool_format == "auto" else FORMATS[tool_format]
        if template is not None:
            # Tokens that a template writes around messages are marks, whatever tokenizer.json calls them.
            tokenizer.hide(tokenizer.marks_in(template.structure))
        if self.call_format is not None:
            # Calls are found in the text of replies, where special tokens would be missing.
            tokenizer.show(tokenizer.marks_in("".join(self.call_format.texts)))
        # Longest first: a regular expression takes the first alternative that fits.
        self._names = sorted(tokenizer.control_ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        self._encoded = EncodedPrefixes()
        self._marks = KnownMarks()
        # One for each process that renders; they also search long texts.
        self._threads = FairThreads(MAX_PROCESSES, "templates")

    async def encode(
        self,
        messages: Sequence[Message],
        partition: Partition,
        *,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] = NO_VARIABLES,
        opens: bool = True,
        continues: bool = False,
        continues_last: bool = False,
        limit: TokenLimit | None = None,
    ) -> Sequence[int]:
        """continues: the ids follow a reply that is already in the session. Raises BadRequest.

        continues_last: the last message is the beginning of the reply, and nothing follows its text.
        opens: the ids end with the opening of a reply. variables: further ones of the template.
        partition: who may notice that the messages, or some of them, were here before.
        tools: those that the model is shown.
        The control tokens among the ids are those of the same conversation with harmless texts.
        """
        template = self._usable(continues)
        seal = _Seal(self._names)
        given = Conversation(messages, tools, variables)
        template.check_is_shown(given)
        opens = opens and not continues_last
        num_chars = _num_chars(given)
        sealed = await self._off_loop(num_chars, self._sealed, given, seal, limit)
        # Sealed variables, because words of them stay: the name of a special token may look like one.
        plain = await self._off_loop(num_chars, harmless, replace(given, variables=sealed.variables))
        shape = shape_of(plain, partition, continues, continues_last, opens)
        marks = self._marks.get(shape)
        conversations = [sealed, plain] if marks is None else [sealed]
        if continues_last:
            conversations = [_with_open_end(each, seal) for each in conversations]
        render = template.render_delta if continues else template.render
        text, *others = await self._threads.run(render, *conversations, opens=opens)
        if continues_last:
            text, *others = (_up_to_open_end(each, seal) for each in (text, *others))
        for other in others:
            ids = (await self._encode_open(other, _Seal(self._names), None)).ids
            marks = self._tokenizer.control_sequence(ids)
            self._marks.put(shape, marks)
        ids = (await self._encode_open(text, seal, partition, limit)).ids
        # A template or a normalizer may build a control token out of harmless characters.
        if self._tokenizer.control_sequence(ids) != marks:
            raise _marks_forged()
        return ids

    async def encode_shared_prefix(
        self,
        messages: Sequence[Message],
        reply: Message,
        partition: Partition,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] = NO_VARIABLES,
    ) -> Sequence[int]:
        """Return the first ids of `encode` for these messages, their reply, and whatever answers it.

        An answer is any user message, or any results of the tools that the reply calls. Raises BadRequest.
        """
        template = self._usable(continues=False)
        seal = _Seal(self._names)
        given = Conversation([*messages, reply], tools, variables)
        template.check_is_shown(given)
        known = await self._off_loop(_num_chars(given), self._sealed, given, seal, None)
        answers = [tool_result(call["id"], seal.mark) for call in reply.get("tool_calls", ())]
        answers = answers or [message("user", seal.mark)]
        whole = replace(known, messages=[*known.messages, *answers])
        [text] = await self._threads.run(template.render, whole)
        text, _, _ = text.partition(seal.mark)
        ids, num_stable = await self._encode_open(text, seal, partition)
        return ids[:num_stable]

    async def breakpoints(
        self,
        messages: Sequence[Message],
        places: Sequence[TextPlace],
        partition: Partition,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] = NO_VARIABLES,
    ) -> list[Breakpoint]:
        """Return the places in the ids of `encode`, in rising order.

        The ids up to there stay the same whatever follows the place. A place that the template does not show
        is left out.
        """
        if not places:
            return []
        template = self._usable(continues=False)
        seal = _Seal(self._names)
        given = Conversation(messages, tools, variables)
        wanted = [given, *(with_mark(given, place, seal.mark) for place in places)]
        num_chars = sum(map(_num_chars, wanted))
        sealed = [await self._off_loop(num_chars, self._sealed, each, seal, None) for each in wanted]
        try:
            whole, *marked = await self._threads.run(template.render, *sealed)
        except BadRequest:
            # The template takes the texts, but not with marks in them.
            return []
        found: dict[int, float] = {}
        starts = await self._off_loop(num_chars, common_beginnings, whole, marked, seal.mark)
        for place, start in zip(places, starts, strict=True):
            num_stable = (await self._encode_open(start, seal, partition)).num_stable if start else 0
            found[num_stable] = max(place.seconds, found.get(num_stable, 0.0))
        return [Breakpoint(num_tokens, found[num_tokens]) for num_tokens in sorted(found) if num_tokens]

    def close(self) -> None:
        """End the processes that render templates."""
        if self.template is not None:
            self.template.renderer.close()

    async def _encode_open(
        self, text: str, seal: _Seal, partition: Partition | None, limit: TokenLimit | None = None
    ) -> OpenText:
        """Between special tokens piece by piece, where that gives the ids of the whole.

        partition None: what was encoded is not kept.
        """
        if self._special is None or not (seal.used or self._tokenizer.seams_hold):
            return await self._tokenizer.encode_open(text, limit=limit)
        # A sealed text never comes again.
        keeps = partition is not None and not seal.used
        known, ids = "", array("i")
        if partition is not None and keeps:
            known, ids = self._encoded.longest(partition, text)
        num_new = len(text) - len(known)
        parts, start, end = await self._off_loop(num_new, self._parts, text, len(known), seal)
        if parts:
            ids.extend((await self._tokenizer.encode_parts(parts, limit)).ids)
        if partition is not None and keeps:
            self._encoded.put(partition, text[:start], ids)
        rest = await self._tokenizer.encode_open(end, special=False, limit=limit)
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

    async def _off_loop(
        self, num_chars: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that searches so many characters, on a thread if they are many."""
        if num_chars > OFF_LOOP_CHARS:
            return await self._threads.run(function, *args, **kwargs)
        return function(*args, **kwargs)

    def _parts(self, text: str, start: int, seal: _Seal) -> tuple[list[str | int], int, str]:
        """Split a rendered text from `start` on.

        Returns the special tokens with the texts before them, where the last of these ends, and the rest.
        """
        assert self._special is not None
        parts: list[str | int] = []
        for found in self._special.finditer(text, start):
            if start < found.start():
                parts.append(seal.broken(text[start : found.start()]))
            parts.append(self._tokenizer.control_ids[found[0]])
            start = found.end()
        return parts, start, seal.broken(text[start:])

    def _sealed(self, given: Conversation, seal: _Seal, limit: TokenLimit | None) -> Conversation:
        """Replace the names of special tokens. Raises BadRequest for more of them than the limit of ids."""
        special = self._special
        if special is None:
            return given
        found = chain.from_iterable(map(special.finditer, _texts(given)))
        if limit is None:
            is_there = any(found)
        else:
            # Each of them is an id at least.
            count = sum(1 for _ in islice(found, limit.max_tokens + 1))
            limit.check(count)
            is_there = count > 0
        if not is_there:
            return given
        put = partial(special.sub, seal.put)
        put_json = partial(with_texts, replace=put)
        return Conversation(
            [replaced(each, put, put_json) for each in given.messages],
            [replaced_tool(tool, put_json) for tool in given.tools],
            {name: put_json(value) for name, value in given.variables.items()},
        )


def _with_open_end(given: Conversation, seal: _Seal) -> Conversation:
    """Return the conversation with a mark behind the text of its last message. Raises BadRequest."""
    *earlier, last = given.messages
    if last["role"] != "assistant":
        message = "Only a message of the assistant can be continued: the last message has another role."
        raise BadRequest(message, param="messages")
    if last["content"] is None or "tool_calls" in last:
        raise BadRequest("Only text can be continued: the last message calls tools.", param="messages")
    # The mark also keeps a template that trims from losing a space that the reply follows.
    return replace(given, messages=[*earlier, {**last, "content": last["content"] + seal.mark}])


def _up_to_open_end(text: str, seal: _Seal) -> str:
    """Return a rendered text without the mark and what the template writes behind it. Raises BadRequest."""
    begun, mark, _ = text.rpartition(seal.mark)
    if not mark:
        message = "This model's chat template changes the last message, which therefore cannot be continued."
        raise BadRequest(message, param="messages")
    return begun


def _num_chars(given: Conversation) -> int:
    contents = sum(len(each["content"] or "") for each in given.messages)
    return contents + sum(map(len, _json_texts(given)))


def _texts(given: Conversation) -> Iterator[str]:
    """Yield all text of users, of messages as two texts: a search per message costs more than the search."""
    yield "".join([each["content"] or "" for each in given.messages])
    yield "\n".join([each["name"] for each in given.messages if "name" in each])
    yield from _json_texts(given)


def _json_texts(given: Conversation) -> Iterator[str]:
    """Yield the texts of tools, variables, calls and the ids of results."""
    values: list[Any] = [*(tool.function for tool in given.tools), *given.variables.values()]
    for each in given.messages:
        if "tool_calls" in each:
            values.append(each["tool_calls"])
        if "tool_call_id" in each:
            values.append(each["tool_call_id"])
    return (text for value in values for text in texts_of(value))


def _marks_forged() -> BadRequest:
    return BadRequest(
        "A message would become control tokens once the chat template or the tokenizer has changed it:"
        " write the spelling of control tokens differently.",
        param="messages",
    )


class _Seal:
    """Stands in for the names of special tokens while a template runs; nobody can guess it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        # Digits, because templates may change the case of letters.
        self._secret = str(10**19 + secrets.randbelow(10**19))
        self._open = f"\ufdd0{self._secret}:"
        self.mark = f"{self._open}\ufdd1"
        """Stands for a text that is not known yet."""
        self._pattern = re.compile(re.escape(self._open) + r"(\d+)\ufdd1")
        self.used = False

    def put(self, found: re.Match[str]) -> str:
        self.used = True
        return f"{self._open}{self._names.index(found[0])}\ufdd1"

    def broken(self, text: str) -> str:
        """Put the names back. Raises BadRequest where the template has changed their stand-ins."""
        whole = self._pattern.sub(lambda found: self._names[int(found[1])], text)
        if self._secret in whole:
            raise _marks_forged()
        return whole
