"""Generation of one reply at a time, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from pararnn_core.models.base import ServingModel
from pararnn_core.sampling.min_tokens import ending_ids, min_tokens_of
from pararnn_core.sampling.sampled import NonFiniteLogits
from pararnn_core.sampling.sampling_params import InvalidSamplingParams, SamplingParams
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.state.state import RecurrentState

PREFILL_CHUNK_TOKENS = 512

_NEED_TEXT_OR_SERVER = (
    "stop",
    "logprobs",
    "prompt_logprobs",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "repeat_last_n",
    "banned_sequences",
)
_NO_SUCH_PARAMS = SamplingParams()


def generate(
    model: ServingModel,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    state: RecurrentState | None = None,
    slot: int = 0,
) -> Iterator[int]:
    """Yield the token ids of a reply, each as soon as it is chosen, without the token that stops the reply.

    Generation resumes from `slot` of `state`; if state is None it starts from an empty state. After a stop
    token the slot covers prompt and reply. After max_tokens, or if the caller stops early, the last token
    yielded is not yet in it: feed that one first to continue.
    Raises ValueError before the slot changes: for an empty prompt, ids outside of the vocabulary, a slot
    outside of the pool, and parameters that this function does not support (stop strings, log-probabilities).
    """
    if not prompt_ids:
        raise ValueError("prompt_ids must hold at least one token")
    vocab_size = model.config.vocab_size
    wrong = next((token for token in prompt_ids if not 0 <= token < vocab_size), None)
    if wrong is not None:
        raise ValueError(f"prompt_ids must be in [0, {vocab_size}), got {wrong}")
    for name in _NEED_TEXT_OR_SERVER:
        if getattr(params, name) != getattr(_NO_SUCH_PARAMS, name):
            raise InvalidSamplingParams(name, "is not supported here, where only token ids are generated")
    params.check_vocabulary(vocab_size)
    if state is None:
        state = model.new_state(1)
    if not 0 <= slot < state.num_slots:
        raise ValueError(f"slot must be in [0, {state.num_slots}), got {slot}")
    # The loop is a function of its own: a generator would check the arguments only at its first token.
    return _replies(model, list(prompt_ids), params, state, slot)


def _replies(
    model: ServingModel, prompt: list[int], params: SamplingParams, state: RecurrentState, slot: int
) -> Iterator[int]:
    vocab_size, eos_token_id = model.config.vocab_size, model.config.eos_token_id
    stops, min_tokens = ending_ids(params, eos_token_id), min_tokens_of(params, eos_token_id, vocab_size)
    table = SamplingTable(1, vocab_size, state.device)
    table.start(0, params)
    row, seen = torch.tensor([0]), state.seen[slot : slot + 1]
    tokens = prompt
    # With max_tokens 0 one round still feeds the prompt.
    for num_drawn in range(max(params.max_tokens, 1)):
        logits = _feed(model, tokens, state, slot)
        if params.max_tokens == 0:
            return
        if min_tokens is not None:
            table.set_mask(0, min_tokens.restricted(None, num_drawn))
        tokens = table.sample(logits, row, row.int(), seen)
        if tokens[0] < 0:
            raise NonFiniteLogits([0])
        if tokens[0] in stops:
            return
        yield tokens[0]


def _feed(model: ServingModel, tokens: list[int], state: RecurrentState, slot: int) -> torch.Tensor:
    """Return logits (1, V) after the last token. Long prompts are fed in pieces, to bound the memory."""
    for start in range(0, len(tokens), PREFILL_CHUNK_TOKENS):
        piece = tokens[start : start + PREFILL_CHUNK_TOKENS]
        is_last = start + len(piece) == len(tokens)
        logits = model.step(
            torch.tensor(piece),
            torch.tensor([0, len(piece)], dtype=torch.int32),
            torch.tensor([slot], dtype=torch.int32),
            state,
            # Only the logits after the whole prompt are read.
            logits_indices=torch.tensor([len(piece) - 1] if is_last else [], dtype=torch.int64),
        )
    return logits
