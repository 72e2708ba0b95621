"""Ids that end a reply, and how min_tokens keeps a reply from drawing them too early."""

from __future__ import annotations

from pararnn_core.sampling.mask_words import MaskWords, allows_nothing, mask_of
from pararnn_core.sampling.sampling_params import SamplingParams


def ending_ids(params: SamplingParams, eos_token_id: int | None) -> frozenset[int]:
    """Return the ids that end a reply: the model's EOS unless it is ignored, and the stop ids."""
    ends = frozenset(params.stop_token_ids)
    return ends if params.ignore_eos or eos_token_id is None else ends | {eos_token_id}


class MinTokens:
    """Restricts the masks of the first `count` ids of a reply to the ids that do not end it.

    words: the mask of those ids.
    """

    def __init__(self, count: int, ends: frozenset[int], vocab_size: int) -> None:
        self._count = count
        self._vocab_size = vocab_size
        self.words: MaskWords = ~mask_of(ends, vocab_size)

    def changes_at(self, num_drawn: int) -> bool:
        """Return True if the next id has another mask than the one before, where nothing else masks it."""
        return num_drawn in (0, self._count)

    def restricted(self, words: MaskWords | None, num_drawn: int) -> MaskWords | None:
        """Return the mask of the next id, from the one that it has without min_tokens (None: any id)."""
        if num_drawn >= self._count:
            return words
        both = self.words if words is None else words & self.words
        # A grammar that is complete allows only the end: it wins, since the reply must follow it.
        return words if allows_nothing(both, self._vocab_size) else both


def min_tokens_of(params: SamplingParams, eos_token_id: int | None, vocab_size: int) -> MinTokens | None:
    """Return the restriction of a request; None where there is nothing to restrict."""
    ends = ending_ids(params, eos_token_id)
    return MinTokens(params.min_tokens, ends, vocab_size) if params.min_tokens and ends else None
