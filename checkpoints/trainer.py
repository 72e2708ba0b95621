"""One training run: the loop, its log, its saved states. The command line is train.py."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.linear_cross_entropy import linear_cross_entropy
from checkpoints.optimizers import Optimizers, clip_recurrent_weights
from checkpoints.run_folder import Row, RunFolder
from checkpoints.schedule import Budget, learning_rate_factor
from checkpoints.token_data import Ids, Windows
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

RECURRENT_LIMIT = 0.5
# A gate's bias from 0 to 5: its channel forgets over 2 to 150 tokens.
MAX_GATE_BIAS = 5.0


@dataclass(frozen=True)
class Recipe:
    """Settings that determine a run's numbers, beside model, data and budget."""

    seq_len: int = 512
    batch_size: int = 4
    learning_rate: float = 3e-3
    gradient_norm: float = 1.0
    use_muon: bool = True
    seed: int = 0


class DivergedError(RuntimeError):
    """Error: the loss is NaN or infinite."""


class Trainer:
    """A trainer that runs until its budget is spent. `restore` before `run` continues bit for bit."""

    def __init__(self, config: ModelConfig, recipe: Recipe, documents: list[Ids], folder: RunFolder) -> None:
        torch.manual_seed(recipe.seed)
        self.model = ParaRNNForCausalLM(config)
        spread_memory(self.model)
        self.recipe = recipe
        self.windows = Windows(documents, recipe.seq_len, recipe.seed)
        self.optimizers = Optimizers(self.model, recipe.use_muon)
        self.folder = folder
        self.next_step = 0

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step: batch_size * seq_len."""
        return self.recipe.batch_size * self.recipe.seq_len

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
        self.folder.save_state(
            {
                "identity": self._identity(),
                "model": self.model.state_dict(),
                "optimizers": self.optimizers.state_dict(),
                "next_step": self.next_step,
                "elapsed": budget.seconds(),
            }
        )

    def run(self, budget: Budget, on_step: Callable[[Row], None]) -> None:
        """Train. on_step is called with a row after every step, loss in nats per token."""
        while (progress := budget.progress(self.next_step)) < 1.0:
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

    def _step(self, learning_rate: float) -> float:
        inputs, targets = self.windows.batch(self.next_step, self.recipe.batch_size)
        loss = mean_loss(self.model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch declares it without types
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizers.step(learning_rate)
        clip_recurrent_weights(self.model.named_parameters(), RECURRENT_LIMIT)
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(f"loss is {value} at step {self.next_step}: lower --learning-rate")
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
    # The GRU's first gate is the weight of the new value, the LSTM's of the old one.
    sign = 1.0 if model.config.cell == "lstm" else -1.0
    for block in model.blocks:
        block.cell.b[0].copy_(sign * bias)


def mean_loss(model: ParaRNNForCausalLM, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-likelihood in nats of targets (B, T), every row from a zero state."""
    head = (model.embedding if model.config.tie_embeddings else model.lm_head).get_parameter("weight")
    return linear_cross_entropy(model.hidden(inputs).flatten(0, 1), head, targets.flatten())
