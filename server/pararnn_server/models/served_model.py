"""A model that is served: its engine, its tokenizer and templates, and the sessions that it can continue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from pararnn_server.engine.engine import Engine
from pararnn_server.engine.outputs import OutputDispatcher
from pararnn_server.grammars.compiler import GrammarCompiler
from pararnn_server.models.chat_readahead import ChatReadahead
from pararnn_server.models.sampling_defaults import SamplingDefaults
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.steps import Steps
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.prompts import PromptReader
from pararnn_server.text.tokenizer import Tokenizer

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model and all that answers for it.

    names: by which clients may call the model; answers carry the first.
    system_fingerprint: of the model and the build; under one value the same request has the same answer.
    created: seconds since 1970. weight_bytes: of the model's matrices. state_bytes: of one session.
    transformer_token_bytes: of one token in the cache of a Transformer of this width and depth, in bfloat16.
    stop_token_ids: ends of a reply besides the model's own EOS. readahead: None where no states are kept.
    """

    names: Sequence[str]
    system_fingerprint: str
    created: int
    weight_bytes: int
    state_bytes: int
    transformer_token_bytes: int
    tokenizer: Tokenizer
    prompts: PromptReader
    chat: ChatPrompts
    grammars: GrammarCompiler
    stop_token_ids: Sequence[int]
    sampling_defaults: SamplingDefaults
    engine: Engine
    sessions: SessionManager
    dispatcher: OutputDispatcher
    readahead: ChatReadahead | None

    @overload
    async def ask(
        self, function: Callable[Concatenate[Ledger, P], Steps[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def ask(
        self, function: Callable[Concatenate[Ledger, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def ask(
        self, function: Callable[Concatenate[Ledger, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """Call a function on the store's thread, with this model's ledger as its first argument."""
        # The event loop never waits for a disk, only for the future.
        return await asyncio.wrap_future(self.sessions.ask(function, *args, **kwargs))

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]
