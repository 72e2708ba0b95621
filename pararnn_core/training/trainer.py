"""One training run: its steps and its saved states."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.training.forward import Forward
from pararnn_core.training.optimizers import Optimizers
from pararnn_core.training.run_folder import Row, RunFolder
from pararnn_core.training.schedule import Budget, learning_rate_factor
from pararnn_core.training.token_file import Ids
from pararnn_core.training.windows import Windows

# A gate's bias from 0 to 5: its channel forgets over 2 to 150 tokens.
MAX_GATE_BIAS = 5.0
SAVE_SECONDS = 60.0
# Saving takes at most a fiftieth of the time.
SAVE_SHARE = 50


@dataclass(frozen=True)
class Recipe:
    """Settings that determine a run's numbers, beside model, data and budget.

    accumulate: batches of a step; products: type of the inputs of matrix products
    compiled: see Forward
    """

    seq_len: int = 512
    batch_size: int = 4
    accumulate: int = 1
    learning_rate: float = 3e-3
    gradient_norm: float = 1.0
    use_muon: bool = True
    seed: int = 0
    products: str = "float32"
    compiled: bool = False


class DivergedError(RuntimeError):
    """Error: the loss is NaN or infinite."""


class Trainer:
    """A trainer that runs until its budget is spent. `restore` before `run` continues bit for bit."""

    def __init__(
        self, config: ModelConfig, recipe: Recipe, stream: Ids, folder: RunFolder, device: str = "cpu"
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.model = ParaRNNForCausalLM(config)
        spread_memory(self.model)
        self.model.to(device)
        self.recipe = recipe
        self.windows = Windows(stream, recipe.seq_len, recipe.seed)
        products = getattr(torch, recipe.products)
        self.forward = Forward(self.model, products, recipe.compiled)
        self.optimizers = Optimizers(self.model, recipe.use_muon, products)
        self.folder = folder
        self.next_step = 0
        self._saved, self._save_took = time.monotonic(), 0.0

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step: accumulate * batch_size * seq_len."""
        return self.recipe.accumulate * self.recipe.batch_size * self.recipe.seq_len

    def restore(self) -> float:
        """Load the folder's state; return the seconds so far. Raises ValueError for other settings."""
        state = self.folder.load_state()
        if state["identity"] != self._identity():
            raise ValueError(f"{self.folder.path} was begun with other settings: {state['identity']}")
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.next_step = int(state["next_step"])
        self.folder.forget_after(self.next_step)
        return float(state["elapsed"])

    def save(self, budget: Budget) -> None:
        """Save everything that `restore` needs."""
        start = time.monotonic()
        self.folder.save_state(
            {
                "identity": self._identity(),
                "model": self.model.state_dict(),
                "optimizers": self.optimizers.state_dict(),
                "next_step": self.next_step,
                "elapsed": budget.seconds(),
            }
        )
        self._saved = time.monotonic()
        self._save_took = self._saved - start

    def save_when_due(self, budget: Budget) -> None:
        """Save if the last time is SAVE_SECONDS ago, or longer where saving is slow."""
        if time.monotonic() - self._saved >= max(SAVE_SECONDS, SAVE_SHARE * self._save_took):
            self.save(budget)

    def run(
        self, budget: Budget, on_step: Callable[[Row], None], should_stop: Callable[[], bool] = bool
    ) -> bool:
        """Train; return False if should_stop() ended the run before its budget was spent.

        on_step: called with a row after every step, loss in nats per token
        """
        while (progress := budget.progress(self.next_step)) < 1.0:
            if should_stop():
                return False
            learning_rate = self.recipe.learning_rate * learning_rate_factor(progress)
            loss = self._step(learning_rate)
            self.next_step += 1
            on_step(
                {
                    "step": self.next_step,
                    "tokens": self.next_step * self.tokens_per_step,
                    "loss": loss,
                    "learning_rate": learning_rate,
                    "progress": progress,
                    "seconds": budget.seconds(),
                }
            )
        return True

    def _step(self, learning_rate: float) -> float:
        value, parts = 0.0, self.recipe.accumulate
        for part in range(parts):
            batch = self.windows.batch(self.next_step * parts + part, self.recipe.batch_size)
            inputs, targets = (each.to(self.model.device) for each in batch)
            loss = self.forward.loss(inputs, targets) / parts
            loss.backward()  # type: ignore[no-untyped-call]  # torch declares it without types
            value += loss.item()
        # Before the update: a state that is saved later must hold numbers.
        if not math.isfinite(value):
            raise DivergedError(f"the loss is {value} at step {self.next_step}: lower --learning-rate")
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizers.step(learning_rate)
        for block in self.model.blocks:
            block.cell.clip_recurrent_()
        return value

    def _identity(self) -> dict[str, Any]:
        return {
            "config": self.model.config.to_dict(),
            "recipe": asdict(self.recipe),
            "tokens": self.windows.num_tokens,
        }


@torch.no_grad()
def spread_memory(model: ParaRNNForCausalLM) -> None:
    """Set the bias of every cell's first gate, so that each head has short to long memories at first."""
    heads = model.config.num_heads
    bias = torch.linspace(0.0, MAX_GATE_BIAS, model.config.hidden_size // heads).repeat(heads)
    # An LSTM's first gate is the weight of the old value. That of other cells is the weight of the new one.
    sign = 1.0 if model.config.cell == "lstm" else -1.0
    for block in model.blocks:
        block.cell.b[0].copy_(sign * bias)
