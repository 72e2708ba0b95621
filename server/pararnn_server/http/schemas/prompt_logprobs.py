"""Log-probabilities of a prompt's ids, in vLLM's shape."""

from __future__ import annotations

from pararnn_server.http.schemas.base import ResponseBody


class PromptLogprob(ResponseBody):
    """rank: its place among the likeliest ids that are listed; null for one that is not among them."""

    logprob: float
    rank: int | None
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]
"""An entry for each id: the id itself and the likeliest at its place, by id. The first has no context."""
