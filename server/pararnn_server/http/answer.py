"""A generation as an HTTP response that ends with its client, and its plain form."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pararnn_server.concurrency.patience import client_left
from pararnn_server.engine.generation import Generation
from pararnn_server.engine.request import Failed, Finished, Output, PromptLogprobs, Tokens, TokenUsage
from pararnn_server.errors import ClientClosed
from pararnn_server.http.formats.base import AnswerFormat, Ending
from pararnn_server.http.formats.json_parts import send_json
from pararnn_server.http.formats.pieces import Piece, PieceReader
from pararnn_server.http.request_state import request_state


@dataclass(frozen=True, slots=True)
class Job:
    """readers: one per choice of all prompts, in order of index.

    on_end: what must be done once every choice has ended, before the client learns of it.
    """

    generation: Generation
    format: AnswerFormat
    readers: list[PieceReader]
    on_end: Callable[[TokenUsage], Awaitable[None]] | None = None

    async def keep(self, usage: TokenUsage) -> None:
        """Do what must be done before the client learns of the end. Raises ServerError."""
        if self.on_end is not None:
            await self.on_end(usage)

    def index(self, prompt: int, choice: int) -> int:
        """Position of a choice in the answer."""
        return prompt * self.generation.plan.num_choices + choice

    def indices(self, prompt: int) -> range:
        """Positions of all choices of a prompt."""
        return range(self.index(prompt, 0), self.index(prompt + 1, 0))


class Answer(Response):
    """Starts the generation when it is called and ends it whatever happens."""

    def __init__(self, generation: Generation) -> None:
        super().__init__()
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the generation and send it. Raises ServerError while no header has left."""
        state = request_state(scope)
        state.token_account().reserve(self._generation.most_tokens)
        # The prompt is encoded, and nothing else of the body is large.
        state.body_lease().close()
        # Before any header leaves: what the engine refuses is still a plain error.
        await self._generation.start()
        work = asyncio.ensure_future(self._write(scope, send))
        guards = [asyncio.ensure_future(guard) for guard in self._guards(scope, receive)]
        try:
            # A generation may wait long for a slot: its client's leaving must end it at once.
            await asyncio.wait((work, *guards), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            else:
                self._give_up(scope)
        finally:
            for task in (work, *guards):
                task.cancel()
            self._settle(scope)
            # Whatever happened, the engine must not work for a client that is gone.
            self._generation.close()

    def _settle(self, scope: Scope) -> None:
        """Settle the account before the last byte leaves: then the client may send its next request."""
        request_state(scope).token_account().settle(self._generation.tokens_taken)

    def _guards(self, scope: Scope, receive: Receive) -> list[Coroutine[Any, Any, None]]:
        """The answer is given up when one of them ends."""
        return [client_left(receive)]

    def _give_up(self, scope: Scope) -> None:
        raise ClientClosed("The client left before its answer.")

    @abstractmethod
    async def _write(self, scope: Scope, send: Send) -> None:
        """Send the response."""


class PlainAnswer(Answer):
    """One JSON body, sent when every choice has ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.generation)
        self._job = job

    async def _write(self, scope: Scope, send: Send) -> None:
        job = self._job
        gathered = _Gathered(job)
        while not job.generation.done:
            for prompt, output in await job.generation.outputs():
                gathered.add(prompt, output)
        choices = [
            job.format.choice(i, gathered.pieces[i], gathered.endings[i]) for i in range(len(job.readers))
        ]
        # P4: the body leaves only when what must be kept is durable.
        await job.keep(job.generation.usage)
        body = job.format.whole(choices, job.generation.usage, gathered.endings[0].session)
        self._settle(scope)
        await send_json(body, scope, send)


class _Gathered:
    """Pieces and endings of every choice, by index. The choices of a prompt share the pieces of its echo."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.pieces: list[list[Piece]] = [[] for _ in job.readers]
        self.endings: dict[int, Ending] = {}
        for prompt in range(len(job.generation.plan.prompts)):
            for piece in job.readers[job.index(prompt, 0)].echo_at_once():
                self._echo(prompt, piece)

    def add(self, prompt: int, output: Output) -> None:
        """Take an output. Raises the error of a Failed."""
        job = self._job
        if isinstance(output, Failed):
            raise output.error
        if isinstance(output, PromptLogprobs):
            reader = job.readers[job.index(prompt, 0)]
            job.format.report.take(prompt, output.rows)
            if reader.echoes:
                self._echo(prompt, reader.prompt(output))
        elif isinstance(output, Tokens):
            index = job.index(prompt, output.choice)
            self.pieces[index].append(job.readers[index].tokens(output))
        elif isinstance(output, Finished):
            index = job.index(prompt, output.choice)
            self.pieces[index].append(job.readers[index].rest())
            self.endings[index] = Ending.of(output)

    def _echo(self, prompt: int, piece: Piece) -> None:
        """Take what the first choice's reader made of the prompt for all choices."""
        first, *others = self._job.indices(prompt)
        self.pieces[first].append(piece)
        for index in others:
            self._job.readers[index].follow(self._job.readers[first])
            self.pieces[index].append(piece)
