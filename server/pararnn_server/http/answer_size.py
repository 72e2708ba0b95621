"""The size that an answer may reach, estimated before it is begun, so that it can be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from pararnn_server.engine.generation import GenerationPlan
from pararnn_server.errors import BadRequest

TEXT_BYTES = 6
"""Text of a token, about."""


class EntryBytes(NamedTuple):
    """Bytes of one token in the lists of log-probabilities: by itself, and for each alternative."""

    token: int
    alternative: int


class ReportBytes(NamedTuple):
    """Bytes of what a request asks for beside texts: for each id of a prompt, and of a reply."""

    prompt: int = 0
    reply: int = 0

    @classmethod
    def of(cls, *, with_ids: bool, prompt_logprobs: int | None) -> ReportBytes:
        """Return them for return_token_ids and prompt_logprobs."""
        ids = _ID_BYTES if with_ids else 0
        if prompt_logprobs is None:
            return cls(ids, ids)
        return cls(ids + _PROMPT_ENTRY_BYTES * (1 + prompt_logprobs), ids)


_ID_BYTES = 7
_PROMPT_ENTRY_BYTES = 75
COMPLETION_ENTRY = EntryBytes(token=60, alternative=32)
CHAT_ENTRY = EntryBytes(token=120, alternative=95)


def fitted(
    plan: GenerationPlan,
    entry: EntryBytes,
    limit: int,
    *,
    echo: bool,
    is_stream: bool,
    is_chosen: bool,
    report: ReportBytes = ReportBytes(),  # noqa: B008  # immutable
) -> GenerationPlan:
    """Return the plan, with fewer tokens if their number was not chosen and the answer would be too large.

    A stream leaves as it is made: of one only the prompts count. Raises BadRequest.
    """
    per_token = TEXT_BYTES
    if plan.params.logprobs is not None:
        per_token += entry.token + entry.alternative * plan.params.logprobs
    per_prompt_id = report.prompt + (per_token if echo else 0)
    echoed = plan.num_choices * sum(len(prompt.token_ids) for prompt in plan.prompts) * per_prompt_id
    per_token += report.reply
    # A stream leaves as it is made, and never lies in memory whole.
    replies = 0 if is_stream else plan.num_choices * len(plan.prompts) * per_token
    room = (limit - echoed) // replies if replies else plan.params.max_tokens
    if echoed <= limit and room >= plan.params.max_tokens:
        return plan
    if echoed <= limit and room >= max(1, plan.params.min_tokens) and not is_chosen:
        return replace(plan, params=replace(plan.params, max_tokens=room))
    size = echoed + replies * (plan.params.max_tokens if is_chosen else 1)
    raise _refusal(plan, size, limit, echo=echo, report=report)


def _refusal(plan: GenerationPlan, size: int, limit: int, *, echo: bool, report: ReportBytes) -> BadRequest:
    """Name what makes the answer large, the first of it as the field at fault."""
    causes = {
        "n": plan.num_choices > 1,
        "prompt": len(plan.prompts) > 1,
        "echo": echo,
        "prompt_logprobs": report.prompt > report.reply,
        "return_token_ids": report.reply > 0,
        "logprobs": plan.params.logprobs is not None,
        "max_tokens": plan.params.max_tokens > 1,
    }
    named = [name for name, is_cause in causes.items() if is_cause]
    message = f"the answer would have about {size} bytes, more than {limit} (max_answer_bytes)"
    return BadRequest(f"{named[0]}: {message}: lower or leave out {', '.join(named)}.", param=named[0])
