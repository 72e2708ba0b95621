"""The loss of chats that begin at a trained state. Layers are computed again for their gradients."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pararnn_core.models.pararnn.layers import product
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.tuning.start_state import StartState

# Rows whose logits are in memory at once.
HEAD_ROWS = 256


class Chat(NamedTuple):
    """A chat as the model reads it. is_target: one byte per id, 1 for those that the assistant wrote."""

    ids: array[int]
    is_target: bytes

    @property
    def num_targets(self) -> int:
        """Number of ids that the loss counts."""
        return self.is_target.count(1)


def summed_loss(
    model: ParaRNNForCausalLM, chats: Sequence[Chat], start: StartState, *, narrow: bool = False
) -> Tensor:
    """Return the loss of all targets, in nats, differentiable in `start`.

    narrow: products are computed in bfloat16. A chat's first id has no predecessor and is no target.
    """
    tokens, is_target = _padded(chats)
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        x: Tensor = model.embedding(tokens[:, :-1])
        for index, block in enumerate(model.blocks):
            # Only the stream between layers is kept: each layer is computed again for its gradient.
            x = checkpoint(block, x, None, start.layer(index), use_reentrant=False)
        rows, targets = model.norm(x)[is_target[:, 1:]], tokens[:, 1:][is_target[:, 1:]]
        parts = zip(torch.split(rows, HEAD_ROWS), torch.split(targets, HEAD_ROWS), strict=True)
        losses = [checkpoint(_head_loss, model, *part, use_reentrant=False) for part in parts]
    return torch.stack(losses).sum() if losses else rows.sum()


def _head_loss(model: ParaRNNForCausalLM, rows: Tensor, targets: Tensor) -> Tensor:
    weight = model.embedding.weight if model.config.tie_embeddings else model.lm_head.weight
    logits = product(rows, weight)
    # A sum of float32 logits: bfloat16 has 8 bits, too few for a loss.
    return F.cross_entropy(
        logits if logits.dtype == torch.float64 else logits.float(), targets, reduction="sum"
    )


def _padded(chats: Sequence[Chat]) -> tuple[Tensor, Tensor]:
    """Return ids and targets (B, T). What follows a chat's end has no effect on it."""
    length = max(len(chat.ids) for chat in chats)
    tokens = torch.zeros(len(chats), length, dtype=torch.int64)
    is_target = torch.zeros(len(chats), length, dtype=torch.bool)
    for row, chat in enumerate(chats):
        tokens[row, : len(chat.ids)] = torch.frombuffer(chat.ids, dtype=torch.int32)
        is_target[row, : len(chat.ids)] = torch.frombuffer(bytearray(chat.is_target), dtype=torch.bool)
    return tokens, is_target
