"""A conversation with a model in this process, without a server."""

from __future__ import annotations

import asyncio
import codecs
import secrets
import threading
from collections.abc import Iterator

from pararnn_core.generate import generate
from pararnn_core.models.base import ServingModel
from pararnn_core.sampling_params import SEED_MAX, SamplingParams
from pararnn_core.state import StatePart, parts_bytes
from pararnn_server.commands.conversation import SessionFacts
from pararnn_server.commands.failure import CommandFailed
from pararnn_server.commands.sampling_options import ChatSampling
from pararnn_server.metrics.units import as_bytes
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.conversation import message
from pararnn_server.text.tokenizer import Tokenizer


class LocalConversation:
    """chat None: replies continue the text. stop_token_ids: ends of a reply besides the model's own EOS."""

    def __init__(
        self,
        model: ServingModel,
        tokenizer: Tokenizer,
        sampling: ChatSampling,
        *,
        chat: ChatPrompts | None,
        system: str | None = None,
        stop_token_ids: tuple[int, ...] = (),
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._chat = chat
        self._system = system
        self._stop_token_ids = stop_token_ids
        self._state = model.new_state(1)
        self._stopping = threading.Event()
        self._pending: list[int] = []
        self._num_tokens = 0
        self._completion_tokens = 0

    def reply(self, text: str) -> Iterator[str]:
        """See Conversation.reply. Broken off by an exception, the session is as before."""
        new = asyncio.run(self._encode(text))
        prompt = [*self._pending, *new]
        if not prompt:
            raise CommandFailed("there is no text to continue: type something")
        # Steps change the state in place, so what a failure undoes must be copied first.
        snapshot, pending = self._state.snapshot(0), self._pending
        try:
            yield from self._pieces(prompt)
        # A reader that stops early closes this generator, which raises GeneratorExit here.
        except BaseException:
            self._pending = pending
            self._state.restore(0, snapshot)
            raise
        self._num_tokens += len(new) + self._completion_tokens

    def stop(self) -> None:
        """See Conversation.stop."""
        self._stopping.set()

    def reset(self) -> None:
        """See Conversation.reset."""
        self._state.reset(0)
        self._pending = []
        self._num_tokens = 0
        self._completion_tokens = 0

    def facts(self) -> SessionFacts:
        """See Conversation.facts."""
        parts = tuple((part.name, _described(part)) for part in self._model.state_parts)
        return SessionFacts(self._num_tokens, parts_bytes(self._model.state_parts), parts)

    def close(self) -> None:
        """See Conversation.close: the memory goes with the process."""

    @property
    def continues_text(self) -> bool:
        """See Conversation.continues_text."""
        return self._chat is None

    @property
    def completion_tokens(self) -> int:
        """See Conversation.completion_tokens."""
        return self._completion_tokens

    def _pieces(self, prompt: list[int]) -> Iterator[str]:
        self._stopping.clear()
        params, given = self._params(), list[int]()
        # A token may end in the middle of a character.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in generate(self._model, prompt, params, self._state):
            given.append(token)
            if text := decoder.decode(self._tokenizer.token_bytes[token]):
                yield text
            if self._stopping.is_set() or len(given) == params.max_tokens:
                # The last token was given out before it was fed; after a stop token, all were.
                self._pending = given[-1:]
                break
        else:
            self._pending = []
        if text := decoder.decode(b"", final=True):
            yield text
        self._completion_tokens = len(given)

    def _params(self) -> SamplingParams:
        fields = {"seed": secrets.randbelow(SEED_MAX), **self._sampling.fields()}
        return SamplingParams(**fields, stop_token_ids=self._stop_token_ids)

    async def _encode(self, text: str) -> list[int]:
        if self._chat is None:
            ids = await self._tokenizer.encode(text)
            # A BOS in the middle of a text is nothing that a model was trained on.
            return ids if self._num_tokens else [*self._tokenizer.opening_ids, *ids]
        begun = self._num_tokens > 0
        system = [] if begun or not self._system else [message("system", self._system)]
        messages = [*system, message("user", text)]
        return [*await self._chat.encode(messages, Partition(owner=""), continues=begun)]


def _described(part: StatePart) -> str:
    shape, dtype = " x ".join(map(str, part.shape)), str(part.dtype).removeprefix("torch.")
    return f"{as_bytes(part.nbytes)}: {shape} {dtype}"
