"""The settings that determine a run's numbers, beside the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

STAGES = ("align", "distil")
Changes = Mapping[str, Mapping[str, Any]]
"""New values by stage and field, such as {"align": {"tokens": 1_000_000}}."""


@dataclass(frozen=True)
class Stage:
    """A stage of `tokens` tokens. Over its last part `decay` the learning rate falls to `floor` times."""

    tokens: int
    learning_rate: float
    decay: float = 0.4
    floor: float = 0.05

    def rate(self, done: int) -> float:
        """Return the learning rate after `done` tokens of the stage: constant, then falling linearly."""
        left = 1.0 - done / self.tokens
        falling = self.floor + (1.0 - self.floor) * max(0.0, left) / self.decay
        return self.learning_rate * min(1.0, falling)


@dataclass(frozen=True)
class Recipe:
    """A recipe. align: each mixer learns its attention's output; distil: the student learns to predict."""

    cell: str = "gru"
    seed: int = 0
    tokens_per_step: int = 2048
    align: Stage = Stage(tokens=6_000_000, learning_rate=2e-3)
    distil: Stage = Stage(tokens=12_000_000, learning_rate=7e-4)
    warmup_steps: int = 30
    """Warm-up steps after each start of the optimiser without moments."""
    rounded: bool = False
    """The student has the rounded matrices of a 4-bit checkpoint while it learns to predict."""
    weight_decay: float = 0.01
    average_horizon: int = 300
    """Steps over which weights are averaged for evaluation and export."""

    def stage_at(self, tokens: int) -> tuple[str, Stage, int]:
        """Return (name, stage, tokens done in it) after `tokens` tokens in all; ("done", ...) at the end."""
        if tokens < self.align.tokens:
            return "align", self.align, tokens
        done = tokens - self.align.tokens
        return ("distil" if done < self.distil.tokens else "done"), self.distil, done

    def changed(self, changes: Changes, tokens: int = 0) -> Recipe:
        """Return the recipe of the rest of a run that saw `tokens` tokens.

        The current stage ends at once if its new length is below its tokens. Raises ValueError for a new
        length of a stage that has ended.
        """
        stages = {name: replace(getattr(self, name), **changes[name]) for name in STAGES if name in changes}
        new = replace(self, **stages)
        if tokens <= self.align.tokens:
            return replace(new, align=replace(new.align, tokens=max(new.align.tokens, tokens)))
        if new.align.tokens != self.align.tokens:
            raise ValueError(f"align ended after {self.align.tokens:,} tokens: its length cannot change")
        return new

    @classmethod
    def saved(cls, stored: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a dataclasses.asdict. Fields that a saved run lacks have their defaults."""
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        return cls(**known | {name: Stage(**stored[name]) for name in STAGES if name in stored})
