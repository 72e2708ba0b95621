"""The training loop: epochs over chats, a held-out loss after each, the best state, resumption."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.tuning.chat_loss import Chat, summed_loss
from pararnn_core.tuning.start_state import StartState

# Ids of one forward; a longer chat is one by itself.
MICRO_TOKENS = 2048
# The share of the rate at which the last epoch ends.
_LAST_RATE = 0.1
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class TuneOptions:
    """epochs: at most. rate: of Adam. batch: chats of a step. patience: epochs without a better loss.

    narrow: products are computed in bfloat16.
    """

    epochs: int = 20
    rate: float = 0.02
    batch: int = 8
    patience: int = 3
    seed: int = 0
    narrow: bool = False


class Epoch(NamedTuple):
    """Losses after an epoch, in nats a target. The held-out loss of epoch 0 is that of zeros."""

    number: int
    training: float
    held_out: float
    is_best: bool


@dataclass(frozen=True)
class Point:
    """A place in the training from which it resumes bit for bit: after `steps` steps of epoch `epoch`.

    tensors: values, both moments of Adam and the best values, by name. loss, count: of this epoch so far.
    """

    tensors: dict[str, Tensor]
    epoch: int = 0
    steps: int = 0
    loss: float = 0.0
    count: int = 0
    best: float = math.inf
    best_epoch: int = 0
    history: tuple[Epoch, ...] = field(default_factory=tuple)


class NotFinite(Exception):
    """The loss is no number any more."""


class Tuner:
    """Trains a state. on_step: called with (steps done, in all) after each; `point` is then up to date."""

    def __init__(
        self,
        model: ParaRNNForCausalLM,
        training: Sequence[Chat],
        held_out: Sequence[Chat],
        options: TuneOptions,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._model, self._training, self._held_out, self._options = model, training, held_out, options
        self._on_step = on_step
        self.start = StartState(model.state_parts)
        self._adam = torch.optim.Adam(self.start.parameters(), lr=options.rate)
        self._steps = math.ceil(len(training) / options.batch)
        self.point = Point(self._tensors() | _named("best", self.start.tensors()))

    def resume(self, point: Point) -> None:
        """Continue from a point of the same data and options."""
        self.point = point
        self._load(point.tensors)

    def run(self) -> Iterator[Epoch]:
        """Train, and yield each epoch as it ends. `start` then has the best values."""
        if not self.point.history:
            yield self._end_epoch(math.nan)
        while self._continues():
            while self.point.steps < self._steps:
                self._take_step()
            yield self._end_epoch(self.point.loss / self.point.count)
        self.start.set(_of("best", self.point.tensors))

    def _continues(self) -> bool:
        last = self.point.history[-1].number
        waited = last - self.point.best_epoch
        return last < self._options.epochs and waited < self._options.patience

    def _take_step(self) -> None:
        point, options = self.point, self._options
        # An order that follows from the epoch alone, so that a resumed epoch is the same.
        order = [*range(len(self._training))]
        random.Random(f"{options.seed} {point.epoch}").shuffle(order)
        taken = order[point.steps * options.batch : (point.steps + 1) * options.batch]
        chats = [self._training[index] for index in taken]
        count = sum(chat.num_targets for chat in chats)
        self._adam.zero_grad()
        loss = 0.0
        for some in micro_batches(chats):
            part = summed_loss(self._model, some, self.start, narrow=options.narrow)
            (part / count).backward()
            loss += part.item()
        if not math.isfinite(loss):
            raise NotFinite(f"the loss became {loss} in epoch {point.epoch}")
        torch.nn.utils.clip_grad_norm_(self.start.parameters(), _LARGEST_GRADIENT)
        for group in self._adam.param_groups:
            group["lr"] = options.rate * self._share_of_rate()
        self._adam.step()
        self.point = replace(
            point,
            tensors=point.tensors | self._tensors(),
            steps=point.steps + 1,
            loss=point.loss + loss,
            count=point.count + count,
        )
        if self._on_step is not None:
            self._on_step((point.epoch - 1) * self._steps + self.point.steps, options.epochs * self._steps)

    def _share_of_rate(self) -> float:
        done = (self.point.epoch - 1 + self.point.steps / self._steps) / self._options.epochs
        return 1 - (1 - _LAST_RATE) * done

    def _end_epoch(self, training: float) -> Epoch:
        point, number = self.point, self.point.epoch
        held_out = mean_loss(self._model, self._held_out, self.start, narrow=self._options.narrow)
        epoch = Epoch(number, training, held_out, held_out < point.best)
        best = _named("best", self.start.tensors()) if epoch.is_best else {}
        self.point = Point(
            tensors=point.tensors | best,
            epoch=number + 1,
            best=min(held_out, point.best),
            best_epoch=number if epoch.is_best else point.best_epoch,
            history=(*point.history, epoch),
        )
        return epoch

    def _tensors(self) -> dict[str, Tensor]:
        tensors = _named("value", self.start.tensors())
        for name, value in self.start.values.items():
            kept = self._adam.state.get(value, {})
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors |= _named(moment, {name: kept.get(moment, torch.zeros_like(value)).detach().clone()})
            tensors |= _named("step", {name: torch.as_tensor(float(kept.get("step", 0.0)))})
        return tensors

    def _load(self, tensors: dict[str, Tensor]) -> None:
        self.start.set(_of("value", tensors))
        for name, value in self.start.values.items():
            moments = {each: tensors[f"{each}.{name}"].clone() for each in ("exp_avg", "exp_avg_sq", "step")}
            self._adam.state[value] = moments


@torch.no_grad()
def mean_loss(
    model: ParaRNNForCausalLM, chats: Sequence[Chat], start: StartState, *, narrow: bool = False
) -> float:
    """Return the loss in nats a target."""
    losses = (summed_loss(model, some, start, narrow=narrow).item() for some in micro_batches(chats))
    return sum(losses) / sum(chat.num_targets for chat in chats)


def micro_batches(chats: Sequence[Chat]) -> Iterator[list[Chat]]:
    """Yield chats of similar length, padded to at most MICRO_TOKENS ids in all, or one longer chat."""
    some: list[Chat] = []
    for chat in sorted(chats, key=lambda chat: len(chat.ids)):
        # The newest is the longest, to which the others are padded.
        if some and (len(some) + 1) * len(chat.ids) > MICRO_TOKENS:
            yield some
            some = []
        some.append(chat)
    if some:
        yield some


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _of(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): each
        for name, each in tensors.items()
        if name.startswith(f"{prefix}.")
    }
