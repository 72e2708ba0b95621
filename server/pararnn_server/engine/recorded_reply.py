"""Replies recorded beside a turn, for a client that repeats its request with the same Idempotency-Key."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pararnn_core.sampling.sampled import Sampled
from pararnn_server.engine.request import Finished, Output, Request, Started, Tokens, TokenUsage
from pararnn_server.sessions.checksum import corrupt
from pararnn_server.sessions.turn import Repeated


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """An answer to repeat: its id, its time, and its outputs with all text in one piece."""

    request_id: str
    created: int
    outputs: Sequence[Output]


def encode_reply(request: Request, published: Sequence[Tokens], finished: Finished) -> bytes:
    """Encode a reply as JSON. published: the outputs of the one choice that a session's turn has."""
    with_logprobs = request.params.logprobs is not None
    rows = [row for tokens in published for row in tokens.logprobs or ()]
    fields = {
        "request_id": request.request_id,
        "created": request.created,
        "token_ids": [token_id for tokens in published for token_id in tokens.token_ids],
        # A reply may be cut inside a character, so its bytes need not be UTF-8.
        "text": base64.b64encode(b"".join(tokens.text_bytes for tokens in published)).decode(),
        "logprobs": [[row.token_id, row.logprob, row.top] for row in rows] if with_logprobs else None,
        "finish_reason": finished.finish_reason,
        "stop_reason": finished.stop_reason,
        "usage": [
            finished.usage.prompt_tokens,
            finished.usage.completion_tokens,
            finished.usage.cached_tokens,
            finished.usage.written_tokens,
        ],
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def recorded(repeated: Repeated) -> RecordedReply:
    """Decode the reply of a repeated request. Raises StoreFailed if it is missing."""
    if repeated.reply is None:
        raise corrupt("the reply of a repeated request is missing")
    fields = json.loads(repeated.reply)
    usage = TokenUsage(*fields["usage"])
    rows = fields["logprobs"]
    tokens = Tokens(
        choice=0,
        token_ids=fields["token_ids"],
        text_bytes=base64.b64decode(fields["text"]),
        logprobs=None if rows is None else [_sampled(*row) for row in rows],
        completion_tokens=usage.completion_tokens,
    )
    finished = Finished(0, fields["finish_reason"], fields["stop_reason"], usage, repeated.info)
    published = [tokens] if tokens.token_ids or tokens.text_bytes else []
    return RecordedReply(
        fields["request_id"],
        fields["created"],
        [Started(fields["request_id"], usage.cached_tokens, usage.written_tokens), *published, finished],
    )


def _sampled(token_id: int, logprob: float | None, top: list[tuple[int, float]]) -> Sampled:
    return Sampled(token_id, logprob, tuple((other, value) for other, value in top))
