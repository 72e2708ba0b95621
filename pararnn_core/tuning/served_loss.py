"""The loss of chats by the place in the assistant's text, on the path that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from pararnn_core.models.base import ServingModel
from pararnn_core.state import RecurrentState, StateSnapshot
from pararnn_core.tuning.chat_loss import Chat

SPANS = ((0, 50), (50, 200), (200, 1000))
"""Tokens of the assistant in one chat, from the first to the one after the last."""
CHUNK = 256


class SpanLoss(NamedTuple):
    """Loss in nats of the tokens of one span, and their number."""

    loss: float = 0.0
    num_tokens: int = 0

    @property
    def mean(self) -> float | None:
        """Nats a token; None where no chat is so long."""
        return self.loss / self.num_tokens if self.num_tokens else None


@torch.inference_mode()
def served_loss(
    model: ServingModel,
    chats: Sequence[Chat],
    start: StateSnapshot | None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SpanLoss]:
    """Return the loss of each of SPANS. start: None is zeros. progress: (ids done, in all)."""
    spans = [SpanLoss() for _ in SPANS]
    state, done, total = model.new_state(1), 0, sum(len(chat.ids) for chat in chats)
    for chat in chats:
        state.reset(0)
        if start is not None:
            state.restore(0, start)
        place = 0
        for first in range(0, len(chat.ids) - 1, CHUNK):
            ids = torch.tensor(chat.ids[first : first + CHUNK + 1])
            flags = torch.tensor([*chat.is_target[first + 1 : first + len(ids)]], dtype=torch.bool)
            losses = _losses(model, ids, flags, state)
            for number, (begin, end) in enumerate(SPANS):
                some = losses[max(begin - place, 0) : max(end - place, 0)]
                known = spans[number]
                spans[number] = SpanLoss(
                    known.loss + float(some.double().sum()), known.num_tokens + len(some)
                )
            place += len(losses)
            done += len(ids) - 1
            if progress is not None:
                progress(done, total)
        done += 1
    if progress is not None:
        progress(total, total)
    return spans


def _losses(
    model: ServingModel, ids: torch.Tensor, is_target: torch.Tensor, state: RecurrentState
) -> torch.Tensor:
    """Feed all ids but the last, and return the loss of those that are targets."""
    bounds = torch.tensor([0, len(ids) - 1], dtype=torch.int32)
    rows = is_target.nonzero().flatten()
    # A step gives logits of at least one row.
    wanted = rows if len(rows) else torch.tensor([len(ids) - 2])
    logits = model.step(ids[:-1], bounds, torch.zeros(1, dtype=torch.int32), state, logits_indices=wanted)
    return F.cross_entropy(logits[: len(rows)].float(), ids[1:][rows].to(logits.device), reduction="none")
