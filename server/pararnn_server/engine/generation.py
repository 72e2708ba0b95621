"""Replies to one HTTP request: the plan for the engine, and the progress of its generation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.access.owner import Owner
from pararnn_server.engine.engine import Engine
from pararnn_server.engine.outputs import Addressed, OutputDispatcher, OutputQueue
from pararnn_server.engine.recorded_reply import RecordedReply, recorded
from pararnn_server.engine.request import Failed, Finished, Request, Started, Tokens, TokenUsage
from pararnn_server.engine.token_mask import TokenMask
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.turn import Repeated, Turn
from pararnn_server.sessions.turns import begin_turn
from pararnn_server.text.prompts import EncodedPrompt


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A plan for the engine: num_choices replies to every prompt of an HTTP request.

    deadline: time.monotonic() after which it fails. created: seconds since 1970, as the answer says.
    idempotency_key: of a request that the client may send twice; only with a session.
    repeated: the recorded answer to an earlier request with the same key.
    token_mask: restricts the ids of every reply, each by a fork of it.
    embeds: embeddings of the prompts are wanted, and no replies.
    tools: digest of those in the prompt of an empty session.
    start, returns_state: as in Request.
    """

    request_id: str
    prompts: Sequence[EncodedPrompt]
    params: SamplingParams
    num_choices: int
    owner: Owner
    deadline: float
    session_id: str | None = None
    expected_turn: int | None = None
    cache_salt: str | None = None
    created: int = 0
    idempotency_key: IdempotencyKey | None = None
    repeated: RecordedReply | None = None
    token_mask: TokenMask | None = None
    embeds: bool = False
    tools: str = ""
    start: SavedState | None = None
    returns_state: bool = False


class Generation:
    """A plan in progress, for the event loop only. `close` must be called whatever happens."""

    def __init__(self, plan: GenerationPlan, engine: Engine, dispatcher: OutputDispatcher) -> None:
        self.plan = plan
        self._engine = engine
        self._dispatcher = dispatcher
        self.queue = OutputQueue()
        self._open: dict[int, int] = {}
        self._usage: dict[tuple[int, int], TokenUsage] = {}
        self._is_repeat = False
        self.last: Finished | None = None
        """The end of the reply that ended last."""
        self._prompt_tokens: dict[int, int] = {}
        self._completion_tokens: dict[tuple[int, int], int] = {}

    async def start(self) -> None:
        """Begin the session's turn, if there is one, and submit every prompt, or none.

        A recorded answer is repeated instead. Raises the errors of `begin_turn` and of the engine.
        """
        if self.plan.repeated is not None:
            self._repeat(self.plan.repeated)
            return
        turn = await self._begin_turn()
        if isinstance(turn, Repeated):
            self._repeat(recorded(turn))
            return
        self._engine.submit_all([self._request(*each) for each in enumerate(self.plan.prompts)], turn)
        # Only now: `close` must not abort requests that were refused.
        self._open = dict.fromkeys(range(len(self.plan.prompts)), self.plan.num_choices)

    async def outputs(self) -> list[Addressed]:
        """Return the next burst; nothing after a nudge. A request that failed is the last of its burst."""
        items = await self.queue.take()
        for prompt, output in items:
            if isinstance(output, Started):
                self._prompt_tokens[prompt] = len(self.plan.prompts[prompt].token_ids)
            elif isinstance(output, Tokens):
                self._completion_tokens[prompt, output.choice] = output.completion_tokens
            elif isinstance(output, Finished):
                self._completion_tokens[prompt, output.choice] = output.usage.completion_tokens
                self._open[prompt] -= 1
                self.last = output
                self._usage[prompt, output.choice] = output.usage
            elif isinstance(output, Failed):
                self._open[prompt] = 0
        return items

    @property
    def most_tokens(self) -> int:
        """Tokens of all prompts and the longest replies to them; 0 where an answer is repeated."""
        plan = self.plan
        if plan.repeated is not None:
            return 0
        replies = len(plan.prompts) * plan.num_choices * plan.params.max_tokens
        return sum(len(prompt.token_ids) for prompt in plan.prompts) + replies

    @property
    def tokens_taken(self) -> int:
        """Tokens of prompts that got a slot and of replies so far; 0 for a repeated answer."""
        # The key paid for these tokens the first time.
        if self._is_repeat:
            return 0
        return sum(self._prompt_tokens.values()) + sum(self._completion_tokens.values())

    @property
    def done(self) -> bool:
        """True once every choice of every prompt has ended."""
        return not any(self._open.values())

    @property
    def usage(self) -> TokenUsage:
        """Usage of the whole request: each prompt once, and every reply."""
        # The choices of a prompt share one prefill, so its tokens count once.
        firsts = [usage for (_, choice), usage in self._usage.items() if choice == 0]
        return TokenUsage(
            prompt_tokens=sum(usage.prompt_tokens for usage in firsts),
            completion_tokens=sum(usage.completion_tokens for usage in self._usage.values()),
            cached_tokens=sum(usage.cached_tokens for usage in firsts),
            written_tokens=sum(usage.written_tokens for usage in firsts),
        )

    def close(self) -> None:
        """End what still runs, without a change to the session."""
        for index, choices in self._open.items():
            if choices:
                self._engine.abort(self._engine_id(index))
        self._open.clear()

    async def _begin_turn(self) -> Turn | Repeated | None:
        """Begin the turn of the plan's session, if it names one."""
        # If the caller is cancelled meanwhile, the turn ends as soon as it has begun.
        plan = self.plan
        if plan.session_id is None:
            return None
        asked = self._engine.sessions.ask(
            begin_turn,
            plan.session_id,
            plan.owner,
            plan.request_id,
            plan.expected_turn,
            plan.idempotency_key,
            plan.tools,
        )
        try:
            # Unshielded, a cancellation would lose a turn that has begun, and the session would stay claimed.
            return await asyncio.shield(asyncio.wrap_future(asked))
        except asyncio.CancelledError:
            asked.add_done_callback(self._abandon)
            raise

    def _abandon(self, asked: Future[Turn | Repeated]) -> None:
        if asked.exception() is None and isinstance(turn := asked.result(), Turn):
            self._engine.sessions.abandon(turn)

    def _repeat(self, reply: RecordedReply) -> None:
        self._is_repeat = True
        self._open[0] = 1
        for output in reply.outputs:
            self.queue.put(0, output)

    def _engine_id(self, index: int) -> str:
        return self.plan.request_id if len(self.plan.prompts) == 1 else f"{self.plan.request_id}-{index}"

    def _request(self, index: int, prompt: EncodedPrompt) -> Request:
        return Request(
            request_id=self._engine_id(index),
            prompt_token_ids=prompt.token_ids,
            params=self.plan.params,
            emit=self._dispatcher.emitter(self.queue, index),
            num_choices=self.plan.num_choices,
            owner=self.plan.owner.key,
            session_id=self.plan.session_id,
            deadline=self.plan.deadline,
            cache_salt=self.plan.cache_salt,
            stable_tokens=prompt.stable,
            created=self.plan.created,
            token_mask=self.plan.token_mask,
            cache_use=prompt.cache_use,
            embeds=self.plan.embeds,
            start=self.plan.start,
            returns_state=self.plan.returns_state,
        )
