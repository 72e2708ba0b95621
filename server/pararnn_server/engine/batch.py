"""Tensors of one `step` of the model, made from a scheduled step, and the uses of its rows of logits."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from itertools import compress
from operator import not_
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.base import ServingModel
from pararnn_core.state import RecurrentState
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.scheduler import Decode, Prefill, ScheduledBatch


class Draw(NamedTuple):
    """One id to sample from a row of the logits, after num_fixed ids of the step that are not drawn."""

    running: Running
    choice: Choice
    row: int
    num_fixed: int = 0


class Score(NamedTuple):
    """Rows of logits from first_row on that predict `targets`.

    first: they follow the prompt's first id.
    """

    running: Running
    first_row: int
    targets: list[int]
    first: bool


class Fixed(NamedTuple):
    """Ids of a reply that come without a draw.

    first_row: of the rows of logits that predict them; -1: nothing reads those.
    """

    running: Running
    choice: Choice
    token_ids: list[int]
    first_row: int


class HiddenRows(NamedTuple):
    """Final rows from first_row on, of the next `num_tokens` ids of a prompt."""

    running: Running
    first_row: int
    num_tokens: int


class Batch:
    """Decodes and prefill chunks laid end to end. Logits are asked for only where something reads them.

    prefilled: requests whose prompt ends in this step.
    fixed: ids that come before those of `draws`.
    """

    def __init__(self, scheduled: ScheduledBatch, requests: Mapping[str, Running]) -> None:
        self.draws: list[Draw] = []
        self.fixed: list[Fixed] = []
        self.scores: list[Score] = []
        self.prefilled: list[Running] = []
        self._hidden_rows: list[HiddenRows] = []
        self._hidden_indices = array("q")
        self._tokens = array("i")
        self._bounds = array("i", [0])
        self._slots = array("i")
        self._rows = array("q")
        self._resumed_slots: list[int] = []
        is_fixed = [bool(requests[one.request_id].choices[one.choice].forced) for one in scheduled.decodes]
        if any(is_fixed):
            self._add_decodes([*compress(scheduled.decodes, map(not_, is_fixed))], requests)
            for decode in compress(scheduled.decodes, is_fixed):
                self._add_fixed(decode, requests[decode.request_id])
        else:
            self._add_decodes(scheduled.decodes, requests)
        # Rows of resumed requests come from `head`, after all of `step`.
        for prefill in sorted(scheduled.prefills, key=lambda prefill: prefill.num_tokens == 0):
            self._add_prefill(prefill, requests[prefill.request_id])

    def logits(self, model: ServingModel, state: RecurrentState) -> Tensor:
        """Run the model's step and return logits (M, V) float32 of the rows asked for."""
        if not self._slots:
            # A resumed request feeds nothing: its logits follow from its state alone.
            return model.head(state, self._resumed_slots)
        hidden = self._new_hidden(model)
        logits = model.step(
            _tensor(self._tokens, torch.int32),
            _tensor(self._bounds, torch.int32),
            _tensor(self._slots, torch.int32),
            state,
            logits_indices=_tensor(self._rows, torch.int64),
            hidden_indices=None if hidden is None else _tensor(self._hidden_indices, torch.int64),
            hidden=hidden,
        )
        if hidden is not None:
            self._embed(hidden)
        if not self._resumed_slots:
            return logits
        return torch.cat((logits, model.head(state, self._resumed_slots)))

    def _add_decodes(self, decodes: list[Decode], requests: Mapping[str, Running]) -> None:
        """Add all decodes."""
        # First of all, so that the row of a decode is its position; by whole lists, since it runs every step.
        running = [requests[decode.request_id] for decode in decodes]
        choices = [one.choices[decode.choice] for one, decode in zip(running, decodes, strict=True)]
        rows = range(len(decodes))
        self._tokens.extend([choice.last_token_id for choice in choices])
        self._slots.extend([decode.slot for decode in decodes])
        self._bounds.extend(range(1, len(decodes) + 1))
        self._rows.extend(rows)
        self.draws.extend(map(Draw, running, choices, rows))

    def _add_fixed(self, decode: Decode, running: Running) -> None:
        """Add the last id of a choice with forced ones after it; the last row may predict one more."""
        choice, count = running.choices[decode.choice], decode.num_forced
        fed = choice.forced.first(count)
        coming = choice.forced.first(count + 1)
        self._tokens.extend([choice.last_token_id, *fed])
        self._end_sequence(decode.slot)
        is_drawn = len(coming) == count
        if running.request.params.logprobs is not None:
            first_row = self._ask(count + 1)
            last_row = first_row + count
        else:
            first_row, last_row = -1, self._ask(1) if is_drawn else -1
        if coming:
            self.fixed.append(Fixed(running, choice, coming, first_row))
        if is_drawn:
            self.draws.append(Draw(running, choice, last_row, len(coming)))

    def _add_prefill(self, prefill: Prefill, running: Running) -> None:
        choices = [choice for choice in running.choices.values() if not choice.is_complete]
        samples = prefill.is_last and running.request.params.max_tokens > 0 and bool(choices)
        last_row = -1
        if prefill.num_tokens:
            end = prefill.start + prefill.num_tokens
            self._tokens.extend(running.feed_token_ids[prefill.start : end])
            self._end_sequence(prefill.slot)
            if running.request.embeds:
                self._hidden_rows.append(HiddenRows(running, len(self._hidden_indices), prefill.num_tokens))
                self._hidden_indices.extend(range(len(self._tokens) - prefill.num_tokens, len(self._tokens)))
            if running.is_scored:
                last_row = self._score(running, prefill.start, end)
            elif samples:
                last_row = self._ask(1)
        elif samples:
            last_row = len(self._rows) + len(self._resumed_slots)
            self._resumed_slots.append(prefill.slot)
        if samples:
            self._add_first_ids(running, choices, last_row)
        if prefill.is_last:
            self.prefilled.append(running)

    def _add_first_ids(self, running: Running, choices: list[Choice], row: int) -> None:
        """Add the first id of each choice, all from the row after the prompt."""
        for choice in choices:
            if choice.forced:
                self.fixed.append(Fixed(running, choice, choice.forced.first(1), row))
            else:
                self.draws.append(Draw(running, choice, row))

    def _new_hidden(self, model: ServingModel) -> Tensor | None:
        if not self._hidden_rows:
            return None
        return torch.empty(len(self._hidden_indices), model.hidden_size, device=model.device)

    def _embed(self, hidden: Tensor) -> None:
        """Give the prompts that are embedded their final rows."""
        rows = hidden.cpu().numpy()
        for running, first_row, num_tokens in self._hidden_rows:
            running.embed(rows[first_row : first_row + num_tokens])

    def _score(self, running: Running, start: int, end: int) -> int:
        first_row = self._ask(end - start)
        # The last row of a prompt predicts an id of the reply and has no target.
        targets = running.feed_token_ids[start + 1 : end + 1].tolist()
        self.scores.append(Score(running, first_row, targets, first=start == 0))
        return first_row + end - start - 1

    def _end_sequence(self, slot: int) -> None:
        self._slots.append(slot)
        self._bounds.append(len(self._tokens))

    def _ask(self, count: int) -> int:
        """Ask for the logits of the newest `count` tokens, and return the row of the first."""
        first_row, end = len(self._rows), len(self._tokens)
        self._rows.extend(range(end - count, end))
        return first_row


def _tensor(values: array[int], dtype: torch.dtype) -> Tensor:
    # torch.frombuffer refuses an empty buffer.
    return torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)
