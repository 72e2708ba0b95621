"""A generation as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from pararnn_server.engine.outputs import Addressed
from pararnn_server.engine.request import (
    Failed,
    Finished,
    Output,
    PromptLogprobs,
    Started,
    Tokens,
    TokenUsage,
)
from pararnn_server.errors import ClientClosed, ServerError
from pararnn_server.http.answer import Answer, Job
from pararnn_server.http.formats import sse
from pararnn_server.http.formats.base import Ending
from pararnn_server.http.formats.json_parts import filled
from pararnn_server.http.request_state import RequestState, request_state
from pararnn_server.settings.server_settings import Settings

EVENTS_BYTES = 1 << 16
ROWS_PER_EVENT = 32


class StreamAnswer(Answer):
    """Headers leave when the engine grants a slot: what fails before that is a plain error.

    each_usage: every chunk carries the usage so far.
    """

    def __init__(self, job: Job, settings: Settings, *, each_usage: bool = False) -> None:
        super().__init__(job.generation)
        self._job = job
        self._settings = settings
        self._each_usage = each_usage
        self._started_by_prompt: dict[int, Started] = {}
        self._started = False
        self._sent_at = 0.0
        self._sending = False
        self._waited_seconds = 0.0

    async def _write(self, scope: Scope, send: Send) -> None:
        generation = self._generation
        while True:
            items = await generation.outputs()
            # A failure may come in one batch with text that was still in time.
            failed = next((output for _, output in items if isinstance(output, Failed)), None)
            if not self._started:
                if failed is not None:
                    raise failed.error
                if not items:
                    continue
                # A slot is granted: what fails from here on is an event of the stream.
                await send({"type": "http.response.start", "status": 200, "headers": list(sse.HEADERS)})
                self._started, self._sent_at = True, time.monotonic()
            if failed is not None:
                return await self._fail(scope, send, failed.error, "".join(self._events(items)).encode())
            if not items:
                await self._send(send, self._job.format.ping)
            ending: Sequence[Addressed] = ()
            if generation.done:
                first_end = _first_end(items)
                items, ending = items[:first_end], items[first_end:]
            for data in self._parts(items):
                await self._send(send, data)
                if len(data) >= EVENTS_BYTES:
                    # A reader that keeps up never makes `send` wait: others run here.
                    await asyncio.sleep(0)
            if generation.done:
                return await self._end(scope, send, "".join(self._events(ending)).encode())

    async def _end(self, scope: Scope, send: Send, data: bytes) -> None:
        """The events that end a reply wait too: a client may act on a finish reason at once."""
        # P4: the events of the end leave when the turn is durable.
        usage = self._generation.usage
        try:
            await self._job.keep(usage)
        except ServerError as error:
            return await self._fail(scope, send, error, data)
        self._settle(scope)
        return await self._send(send, data + self._job.format.last(usage), last=True)

    async def _fail(self, scope: Scope, send: Send, error: ServerError, events: bytes = b"") -> None:
        request_state(scope).outcome = error.status
        self._settle(scope)
        await self._send(send, events + self._job.format.failure(error), last=True)

    async def _send(self, send: Send, data: bytes, *, last: bool = False) -> None:
        """Wait until the reader has room."""
        began = self._sent_at = time.monotonic()
        self._sending = True
        await send({"type": "http.response.body", "body": data, "more_body": not last})
        self._sent_at, self._sending = time.monotonic(), False
        self._waited_seconds += self._sent_at - began

    def _guards(self, scope: Scope, receive: Receive) -> list[Coroutine[Any, Any, None]]:
        return [*super()._guards(scope, receive), self._reader_is_behind(request_state(scope))]

    def _give_up(self, scope: Scope) -> None:
        if not self._started:
            super()._give_up(scope)
        request_state(scope).outcome = ClientClosed.status

    async def _reader_is_behind(self, state: RequestState) -> None:
        """Wait until the reader is behind; keep a silent stream alive meanwhile."""
        limits, queue = self._settings, self._generation.queue
        # Four looks a ping, so that no silence lasts much longer than promised.
        tick = min(1.0, limits.stream_ping_seconds / 4)
        while True:
            await asyncio.sleep(tick)
            silence = time.monotonic() - self._sent_at
            # What waits may wait for this server: a reader is slow where sending takes most of the time.
            waited, self._waited_seconds = self._waited_seconds, 0.0
            is_slow = waited + (silence if self._sending else 0.0) > tick / 2
            if is_slow and queue.waiting_bytes > limits.stream_max_lag_bytes:
                return
            if self._sending:
                if silence > limits.stream_max_lag_seconds:
                    return
            # A client that has shut its writing side may be gone: only a write to it tells.
            elif self._started and (silence >= limits.stream_ping_seconds or state.is_half_closed):
                queue.nudge()

    def _parts(self, items: Sequence[Addressed]) -> Iterable[bytes]:
        if len(items) == 1 and isinstance(output := items[0][1], Tokens) and not output.logprobs:
            # The common case, once for every token.
            event = self._event(items[0][0], output)
            return (event.encode(),) if event else ()
        return filled(self._events(items), EVENTS_BYTES)

    def _events(self, items: Sequence[Addressed]) -> Iterator[str]:
        for prompt, output in items:
            if isinstance(output, PromptLogprobs):
                yield from self._scored(prompt, output)
            elif isinstance(output, Tokens) and output.logprobs and len(output.logprobs) > ROWS_PER_EVENT:
                yield from self._repeated(prompt, output)
            else:
                yield self._event(prompt, output)

    def _repeated(self, prompt: int, output: Tokens) -> Iterator[str]:
        """A recorded reply, whose text is one piece: the text with the first rows, then the others."""
        rows = output.logprobs or []
        for start in range(0, len(rows), ROWS_PER_EVENT):
            text = b"" if start else output.text_bytes
            here = slice(start, start + ROWS_PER_EVENT)
            part = replace(output, text_bytes=text, logprobs=rows[here], token_ids=output.token_ids[here])
            yield self._event(prompt, part)

    def _scored(self, prompt: int, output: PromptLogprobs) -> Iterator[str]:
        """A few rows of the prompt at a time, each time for all choices."""
        job, usage = self._job, self._usage(prompt, 0)
        # A long prompt's rows would be one event of many megabytes.
        for start in range(0, len(output.rows), ROWS_PER_EVENT):
            rows = PromptLogprobs(output.rows[start : start + ROWS_PER_EVENT])
            for index in job.indices(prompt):
                yield job.format.piece(index, job.readers[index].prompt(rows), usage)

    def _event(self, prompt: int, output: Output) -> str:
        job = self._job
        if isinstance(output, Tokens):
            index = job.index(prompt, output.choice)
            usage = self._usage(prompt, output.completion_tokens)
            return job.format.piece(index, job.readers[index].tokens(output), usage)
        if isinstance(output, Started):
            self._started_by_prompt[prompt] = output
            return self._opening(prompt)
        if isinstance(output, Finished):
            return self._ending(job.index(prompt, output.choice), output)
        return ""

    def _opening(self, prompt: int) -> str:
        job, usage = self._job, self._usage(prompt, 0)
        return "".join(
            job.format.opening(index, usage)
            + "".join(job.format.piece(index, echo, usage) for echo in job.readers[index].echo_at_once())
            for index in job.indices(prompt)
        )

    def _ending(self, index: int, output: Finished) -> str:
        job, usage = self._job, output.usage if self._each_usage else None
        # An unfinished character at the very end would be lost otherwise.
        rest = job.readers[index].rest()
        last = job.format.piece(index, rest, usage) if rest.text else ""
        return last + job.format.end(index, Ending.of(output), usage)

    def _usage(self, prompt: int, completion_tokens: int) -> TokenUsage | None:
        """Return the usage so far, where every chunk carries it."""
        if not self._each_usage:
            return None
        num_ids = len(self._generation.plan.prompts[prompt].token_ids)
        started = self._started_by_prompt.get(prompt)
        if started is None:
            return TokenUsage(num_ids, completion_tokens)
        return TokenUsage(num_ids, completion_tokens, started.cached_tokens, started.written_tokens)


def _first_end(items: Sequence[Addressed]) -> int:
    """Return the position of the first event that ends a reply."""
    ends = (place for place, (_, output) in enumerate(items) if isinstance(output, Finished))
    return next(ends, len(items))
