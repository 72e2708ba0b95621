"""Replies of a running server to held-out prompts, through its API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from checkpoints.distil.evaluate import MAX_REPLY_TOKENS, REPEATED_TOKENS, ReplyFigures, has_repetition
from checkpoints.distil.prompts import HeldOutPrompt

Fields = Mapping[str, float]
"""Sampling fields of a request. The server takes its model's defaults for those that are left out."""

REQUESTS_AT_ONCE = 16
TIMEOUT_SECONDS = 600.0
SAMPLING: tuple[tuple[str, Fields], ...] = (
    ("greedy", {"temperature": 0.0, "repetition_penalty": 1.0}),
    ("0.2, 0.9", {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.0}),
    ("0.2, 0.9, penalty 1.05", {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.05}),
    ("0.2, 0.9, penalty 1.1", {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1}),
    ("0.2, 0.9, penalty 1.2", {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.2}),
    (
        "0.2, 0.9, penalty 1.1 of the last 64 tokens",
        {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1, "repeat_last_n": 64},
    ),
)
"""The settings that a card compares: temperature, top_p, repetition_penalty."""


@dataclass(frozen=True)
class ServedReply:
    """A reply. ended: True if by an end token, which is not in the text."""

    model: str
    prompt: HeldOutPrompt
    text: str
    tokens: Sequence[int]
    ended: bool


def served_replies(
    url: str, prompts: Sequence[HeldOutPrompt], seed: int, fields: Fields, key: str | None = None
) -> list[ServedReply]:
    """Return the first reply to each prompt, in their order. Raises ValueError if the server refuses."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as client,
        ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads,
    ):
        # Each prompt has a seed of its own: with one for all, replies that begin alike would stay alike.
        return list(
            threads.map(lambda asked: _reply(client, asked[1], seed + asked[0], fields), enumerate(prompts))
        )


def reply_counts(made: Sequence[ServedReply]) -> ReplyFigures:
    """Count right answers, ends and repetitions."""
    facts = [reply for reply in made if reply.prompt.answers]
    return ReplyFigures(
        prompts=len(made),
        repeated=sum(has_repetition(reply.tokens) for reply in made),
        ended=sum(reply.ended for reply in made),
        facts=len(facts),
        right=sum(reply.prompt.is_right(reply.text) for reply in facts),
    )


def counts_line(counts: ReplyFigures) -> str:
    """Return the counts as one line."""
    return (
        f"a repeated {REPEATED_TOKENS}-gram in {counts.repeated} of {counts.prompts},"
        f" ended by themselves {counts.ended}, right facts {counts.right} of {counts.facts}"
    )


def _reply(client: httpx.Client, prompt: HeldOutPrompt, seed: int, fields: Fields) -> ServedReply:
    body = {
        "messages": [{"role": "user", "content": prompt.prompt}],
        "max_tokens": MAX_REPLY_TOKENS,
        "seed": seed,
        "return_token_ids": True,
        **fields,
    }
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        raise ValueError(f"{client.base_url}: {error}; is the server running?") from error
    if response.status_code != httpx.codes.OK:
        raise ValueError(f"{client.base_url} answers {response.status_code}: {response.text}")
    answer = response.json()
    (choice,) = answer["choices"]
    return ServedReply(
        model=answer["model"],
        prompt=prompt,
        text=choice["message"]["content"],
        tokens=choice["token_ids"],
        ended=choice["finish_reason"] == "stop",
    )
