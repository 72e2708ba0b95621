"""Requests to the engine thread, and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.errors import ServerError
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.state_cache.breakpoints import PLAIN_USE, CacheUse

if TYPE_CHECKING:
    from pararnn_core.sampling.sampler import Sampled
    from pararnn_server.engine.embedding import Float32s
    from pararnn_server.engine.token_mask import TokenMask
    from pararnn_server.sessions.saved_state import SavedState
    from pararnn_server.sessions.turn import TurnResult

FinishReason = Literal["stop", "length", "cancelled", "abort"]


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Measured numbers of tokens of one choice.

    prompt_tokens: ids of this request's prompt; with a session, the new ones only.
    completion_tokens: ids sampled, an EOS and the ids of a stop string included.
    cached_tokens: ids of the prompt that a stored state made it unnecessary to feed.
    written_tokens: other ids of the prompt up to the last state that the request pins in the cache.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A slot is granted: headers may leave. cached_tokens and written_tokens as in TokenUsage."""

    request_id: str
    cached_tokens: int = 0
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """The next rows of the prompt in order, one event per prefill chunk; the first row of all is None."""

    rows: list[Sampled | None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids and bytes that may be shown: nothing of it can still become part of a stop string.

    text_bytes: what to append. An id comes with the event that completes its bytes, so that bytes may run
        ahead of ids; of an id that a stop string cuts in two only the bytes come.
    logprobs: one per id if they were asked for.
    completion_tokens: ids sampled so far for the choice, held back ones included.
    """

    choice: int
    token_ids: list[int]
    text_bytes: bytes
    logprobs: list[Sampled] | None
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event of a choice; with a session, once the turn is durable.

    stop_reason: the stop string or stop id that ended it; None for the model's own EOS and any other reason.
    session: the session as just committed, for a request that named one and was not aborted.
    unshown_ids: sampled ids after the last that Tokens has: of the stop string, and the EOS or stop id.
    result: ids and state at the end, for a request that asked for them.
    """

    choice: int
    finish_reason: FinishReason
    stop_reason: str | int | None
    usage: TokenUsage
    session: SessionInfo | None = None
    unshown_ids: Sequence[int] = ()
    result: TurnResult | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Last event of the request; a session is as before the turn."""

    error: ServerError


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The embedding of the prompt, before its Finished. vector: (d,), of length 1."""

    vector: Float32s


Output = Started | PromptLogprobs | Embedding | Tokens | Finished | Failed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One prompt and what to do with it. Ends with one Failed or with one Finished per choice.

    prompt_token_ids: with a session, only what is new; empty continues the session.
    emit: called in order, on the engine's thread and at a session's end on the store's; must return at once,
        however slow the reader is.
    num_choices: replies to the same prompt, each in a slot of its own; 1 with a session.
    owner: name of the key, "" without keys.
    deadline: time.monotonic() after which the request fails with a 504.
    cache_salt: stored states are shared only with requests of the same owner and salt.
    stable_tokens: leading ids of a text that stay the same whatever is appended to it; 0: not known.
    created: seconds since 1970, as the answer says.
    token_mask: restricts the ids that may be drawn; every choice gets a fork of it.
    cache_use: which states of the prompt are kept, and pinned.
    embeds: the prompt's Embedding is wanted; with max_tokens 0, and without a session.
    start: the state that the prompt follows, of no session of this server; None: the state before any token.
    returns_state: the state at the end is wanted; num_choices is 1 then.
    """

    request_id: str
    prompt_token_ids: Sequence[int]
    params: SamplingParams
    emit: Callable[[Output], None]
    num_choices: int = 1
    owner: str = ""
    session_id: str | None = None
    deadline: float | None = None
    cache_salt: str | None = None
    stable_tokens: int = 0
    created: int = 0
    token_mask: TokenMask | None = None
    cache_use: CacheUse = PLAIN_USE
    embeds: bool = False
    start: SavedState | None = None
    returns_state: bool = False
