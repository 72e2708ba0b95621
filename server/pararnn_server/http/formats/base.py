"""Formats of answers on the wire, and the part that completions and chats share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from types import MappingProxyType
from typing import Any

from pararnn_server.engine.request import Finished, TokenUsage
from pararnn_server.errors import ServerError
from pararnn_server.http.formats import sse
from pararnn_server.http.formats.pieces import Piece
from pararnn_server.http.formats.token_report import TokenReport
from pararnn_server.sessions.session import SessionInfo

__all__ = ["AnswerFormat", "ChunkFormat", "Ending", "Heading", "compact", "quoted"]


@dataclass(frozen=True, slots=True)
class Heading:
    """First fields of an answer.

    created: seconds since 1970. recorded: fields that are only logged and echoed.
    """

    id: str
    created: int
    model: str
    system_fingerprint: str
    recorded: Mapping[str, Any]

    def fields(self, kind: str) -> dict[str, Any]:
        """First fields of every body and chunk."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one choice: its reason, and the session as it was left.

    stop_reason: the stop string or stop id that ended it; None for the model's own EOS and any other reason.
    token_ids: ids of the reply that no piece has shown.
    """

    reason: str
    session: SessionInfo | None = None
    stop_reason: str | int | None = None
    token_ids: Sequence[int] = ()

    @classmethod
    def of(cls, output: Finished) -> Ending:
        """Return the end that the engine reports."""
        return cls(output.finish_reason, output.session, output.stop_reason, output.unshown_ids)

    @property
    def fields(self) -> str:
        """The members of a choice that say how it ended, as JSON."""
        stop = quoted(self.stop_reason) if isinstance(self.stop_reason, str) else json.dumps(self.stop_reason)
        return f'"finish_reason":"{self.reason}","stop_reason":{stop}'


class AnswerFormat(ABC):
    """One answer, either as a stream of events or whole. Indices count the choices of all prompts.

    ping: event of a stream that is silent.
    replies: texts of the choices that have ended, by index, where the format keeps them.
    report: ids and log-probabilities of the prompt that the request asks for; a format may have none.
    """

    report: TokenReport

    ping: bytes = sse.PING
    replies: Mapping[int, str] = MappingProxyType({})

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """Event that comes before anything else of a choice."""
        return ""

    @abstractmethod
    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Events that add to a choice."""

    @abstractmethod
    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """Event that ends a choice."""

    @abstractmethod
    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """One choice of the whole answer, in parts that are made as they are asked for."""

    @abstractmethod
    def last(self, usage: TokenUsage) -> bytes:
        """Return the end of a stream."""

    def failure(self, error: ServerError) -> bytes:
        """Return the end of a stream that failed."""
        return sse.error_event(error)

    @abstractmethod
    def whole(
        self, choices: Sequence[Iterator[str]], usage: TokenUsage, session: SessionInfo | None
    ) -> Iterator[str]:
        """The answer as one body, in parts."""


class ChunkFormat(AnswerFormat):
    """The part that completions and chats share: chunks with a list of choices.

    null_usage: every chunk but the last carries "usage": null and the last the usage, as include_usage
        promises.
    """

    body_object: str
    chunk_object: str
    # Where an answer has one prompt, its ids are the answer's; else those of each choice.
    has_one_prompt = False

    def __init__(self, heading: Heading, *, null_usage: bool = False) -> None:
        self._heading = heading
        head = compact(heading.fields(self.chunk_object))[1:-1]
        # Made once: it is the same in every chunk, and there is one for every token.
        self._prefix = f"data: {{{head},"
        recorded = compact(heading.recorded)[1:-1]
        self._recorded = recorded and recorded + ","
        self._no_usage = ',"usage":null' if null_usage else ""

    def last(self, usage: TokenUsage) -> bytes:
        """A chunk without choices, where it was asked for, and [DONE]."""
        chunk = self._event("", f',"usage":{usage_json(usage)}') if self._no_usage else ""
        return chunk.encode() + sse.DONE

    def whole(
        self, choices: Sequence[Iterator[str]], usage: TokenUsage, session: SessionInfo | None
    ) -> Iterator[str]:
        """The answer as one body, in parts."""
        head = compact({**self._heading.fields(self.body_object), **self._heading.recorded})
        yield f'{head[:-1]},"choices":['
        for number, choice in enumerate(choices):
            if number:
                yield ","
            yield from choice
        yield f'],"usage":{usage_json(usage)}'
        if self.has_one_prompt:
            yield from self.report.prompt(0)
        yield "}" if session is None else f',"session":{compact(session_stamp(session))}}}'

    def chunk(
        self, choice: str, usage: TokenUsage | None, session: SessionInfo | None = None, about: str = ""
    ) -> str:
        """An event with one choice. about: further members, as JSON."""
        tail = self._no_usage if usage is None else f',"usage":{usage_json(usage)}'
        if session is not None:
            tail += f',"session":{compact(session_stamp(session))}'
        return self._event(choice, tail + about)

    def _event(self, choices: str, tail: str) -> str:
        # Fields without effect are echoed once, in the first chunk.
        recorded, self._recorded = self._recorded, ""
        return f'{self._prefix}{recorded}"choices":[{choices}]{tail}}}\n\n'


def compact(value: Mapping[str, Any]) -> str:
    """JSON in ASCII on one line. Raises ValueError for what JSON cannot say."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def usage_body(usage: TokenUsage) -> dict[str, Any]:
    """Return the fields of the schema `Usage`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.written_tokens,
        },
    }


def usage_json(usage: TokenUsage) -> str:
    """Return the usage as text: chunks may carry it once per token."""
    total = usage.prompt_tokens + usage.completion_tokens
    return (
        f'{{"prompt_tokens":{usage.prompt_tokens},"completion_tokens":{usage.completion_tokens},'
        f'"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{usage.cached_tokens},'
        f'"cache_write_tokens":{usage.written_tokens}}}}}'
    )


def session_stamp(session: SessionInfo) -> dict[str, Any]:
    """Return the fields of the schema `SessionStamp`."""
    return {
        "id": session.id,
        "turn": session.turn,
        "num_tokens": session.num_tokens,
        "state_bytes": session.state_bytes,
    }
