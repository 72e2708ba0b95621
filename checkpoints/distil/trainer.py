"""The loop of a training run: steps, the running average of the weights, saved states, the curve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict

import torch
from torch import Tensor
from torch.optim import AdamW

from checkpoints.distil.learner import Learner
from checkpoints.distil.recipe import Recipe
from checkpoints.distil.rounded_step import RoundedStep
from checkpoints.distil.run_folder import RunFolder, State
from checkpoints.distil.student import mixer_parameters
from checkpoints.distil.teacher import Importance
from checkpoints.distil.windows import Batch, TrainingBatches

SAVE_SECONDS = 600.0
LOG_TOKENS = 20_480
MEASURE_TOKENS = 102_400
BETAS = (0.9, 0.95)
MATRIX_SIZE = 10_000
# Training batches on which the inputs of the MLPs are measured.
IMPORTANCE_BATCHES = 2
STATE_VERSION = 1


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


class Trainer:
    """Trains until the last stage ends or `should_stop()`.

    probes: held-out batches by name. step counts all steps, stage_steps those since the optimiser began.
    """

    def __init__(
        self,
        recipe: Recipe,
        learner: Learner,
        batches: TrainingBatches,
        probes: dict[str, Batch],
        folder: RunFolder,
    ) -> None:
        self.recipe, self.learner, self.batches, self.probes, self.folder = (
            recipe,
            learner,
            batches,
            probes,
            folder,
        )
        self.parameters = dict(mixer_parameters(learner.model))
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step = self.stage_steps = 0
        self.optimizer = self._new_optimizer()
        self.importance: list[Importance] = []
        self._rounded_step = RoundedStep(self.parameters) if recipe.rounded else None
        self._losses: list[float] = []

    @property
    def tokens(self) -> int:
        """Seen so far, in all stages."""
        return self.step * self.recipe.tokens_per_step

    def state(self) -> State:
        """Everything that `restore` needs."""
        return {
            "version": STATE_VERSION,
            "recipe": asdict(self.recipe),
            "step": self.step,
            "stage_steps": self.stage_steps,
            "mixers": {name: p.detach() for name, p in self.parameters.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "importance": [tuple(inputs) for inputs in self.importance],
            "rounded_step": self._rounded_step.state() if self._rounded_step else None,
        }

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Continues where the state was saved. Raises ValueError for another cell or version."""
        if state["version"] != STATE_VERSION or state["recipe"]["cell"] != self.recipe.cell:
            raise ValueError(f"the saved run is of {state['recipe']['cell']}, version {state['version']}")
        self.step, self.stage_steps = state["step"], state["stage_steps"]
        for name, parameter in self.parameters.items():
            parameter.copy_(state["mixers"][name])
            self.average[name].copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.importance = [Importance(*inputs) for inputs in state.get("importance", ())]
        if self._rounded_step is not None and state.get("rounded_step"):
            self._rounded_step.restore(state["rounded_step"])
        self.folder.forget_after(self.tokens)

    @torch.no_grad()
    def begin_from(
        self, mixers: dict[str, Tensor], tokens: int, importance: Sequence[Importance] = ()
    ) -> None:
        """Continue from weights alone, after `tokens` tokens, with new moments of the optimiser."""
        self.importance = list(importance)
        self.step, self.stage_steps = tokens // self.recipe.tokens_per_step, 0
        for name, parameter in self.parameters.items():
            parameter.copy_(mixers[name])
            self.average[name].copy_(mixers[name])
        self.optimizer = self._new_optimizer()

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Train, and save every SAVE_SECONDS and at the end."""
        if self.recipe.rounded:
            self._round_mlps()
        saved, logged, logged_tokens = time.monotonic(), time.monotonic(), self.tokens
        while self.recipe.stage_at(self.tokens)[0] != "done" and not should_stop():
            self.one_step()
            if self.tokens - logged_tokens >= LOG_TOKENS:
                seconds = time.monotonic() - logged
                self._log((self.tokens - logged_tokens) / seconds)
                logged, logged_tokens = time.monotonic(), self.tokens
            if time.monotonic() - saved >= SAVE_SECONDS:
                self.folder.save(self.state())
                saved = time.monotonic()
        self.folder.save(self.state())

    def one_step(self) -> float:
        """One batch of the stage that is on; returns its loss."""
        name, stage, done = self.recipe.stage_at(self.tokens)
        if self.stage_steps and done < self.recipe.tokens_per_step:
            self._begin_stage()
        batch = self.batches.batch(self.step)
        if name == "align":
            errors = self.learner.align_step(batch)
            loss = sum(errors) / len(errors)
        else:
            with self._rounded_step.in_step() if self._rounded_step else nullcontext():
                loss = self.learner.distil_step(batch).kl
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} at step {self.step}: resume with a lower rate")
        self._update(stage.rate(done) * min(1.0, (self.stage_steps + 1) / self.recipe.warmup_steps))
        self.step += 1
        self.stage_steps += 1
        self._losses.append(loss)
        return loss

    def measure(self) -> dict[str, dict[str, float]]:
        """KL and cross-entropies of the averaged weights on each probe."""
        self._exchange()
        try:
            with self._rounded_step.in_measurement() if self._rounded_step else nullcontext():
                return {name: asdict(self.learner.measure(batch)) for name, batch in self.probes.items()}
        finally:
            self._exchange()

    def _round_mlps(self) -> None:
        """Round the student's MLPs, by the importance that was measured when the run was first rounded."""
        if not self.importance:
            tokens = [self.batches.batch(place).inputs for place in range(IMPORTANCE_BATCHES)]
            self.importance = self.learner.importance(torch.cat(tokens))
        self.learner.round_mlps(self.importance)

    @torch.no_grad()
    def _exchange(self) -> None:
        """Exchange the weights with their average. A second call reverses that."""
        for name, parameter in self.parameters.items():
            weights = parameter.data
            parameter.data = self.average[name]
            self.average[name] = weights

    @torch.no_grad()
    def _begin_stage(self) -> None:
        """Continue from the averaged weights, with new moments."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average[name])
        self.optimizer = self._new_optimizer()
        self.stage_steps = 0

    @torch.no_grad()
    def _update(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        for block in self.learner.model.blocks:
            block.cell.clip_recurrent_()
        # Early weights leave the average soon: it spans a fifth of the steps until it reaches its horizon.
        span = min(self.recipe.average_horizon, 1 + self.stage_steps // 5)
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, 1.0 / span)

    def _new_optimizer(self) -> AdamW:
        matrices = [p for p in self.parameters.values() if p.ndim >= 2 and p.numel() > MATRIX_SIZE]
        rest = [p for p in self.parameters.values() if p.ndim < 2 or p.numel() <= MATRIX_SIZE]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=0.0, betas=BETAS, fused=True)

    def _log(self, tokens_per_second: float) -> None:
        """A row of the curve; held-out figures whenever MEASURE_TOKENS more were seen."""
        name, stage, done = self.recipe.stage_at(self.tokens)
        row = {
            "time": round(time.time()),
            "tokens": self.tokens,
            "stage": name,
            "loss": sum(self._losses) / len(self._losses),
            "rate": stage.rate(done),
            "tokens_per_second": round(tokens_per_second, 1),
        }
        if self.tokens % MEASURE_TOKENS < LOG_TOKENS:
            row["held_out"] = self.measure()
        self._losses = []
        self.folder.log(row)
