"""Everything that decides a run's numbers, beside the text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """tokens: how long the stage lasts; its rate falls over the last part `decay` of it to `floor` times."""

    tokens: int
    learning_rate: float
    decay: float = 0.4
    floor: float = 0.05

    def rate(self, done: int) -> float:
        """Learning rate after so many tokens of the stage: constant, then a straight line down."""
        left = 1.0 - done / self.tokens
        falling = self.floor + (1.0 - self.floor) * max(0.0, left) / self.decay
        return self.learning_rate * min(1.0, falling)


@dataclass(frozen=True)
class Recipe:
    """align: each mixer learns its attention's output. distil: the student learns the distribution."""

    cell: str = "gru"
    seed: int = 0
    tokens_per_step: int = 2048
    align: Stage = Stage(tokens=6_000_000, learning_rate=2e-3)
    distil: Stage = Stage(tokens=12_000_000, learning_rate=7e-4)
    warmup_steps: int = 30
    """Whenever the optimiser begins without moments."""
    weight_decay: float = 0.01
    average_horizon: int = 300
    """Steps over which weights are averaged for evaluation and export."""

    def stage_at(self, tokens: int) -> tuple[str, Stage, int]:
        """(name, stage, tokens done in it) after so many tokens in all; ("done", ...) at the end."""
        if tokens < self.align.tokens:
            return "align", self.align, tokens
        done = tokens - self.align.tokens
        return ("distil" if done < self.distil.tokens else "done"), self.distil, done
