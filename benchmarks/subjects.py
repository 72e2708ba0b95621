"""What is measured: the models that ship, and random ones of the presets' sizes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from pararnn_core.checkpoint import checkpoint_info, load_checkpoint
from pararnn_core.config import ModelConfig, num_parameters
from pararnn_core.model import ParaRNNForCausalLM

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
PRESETS = ("25m", "130m")
DTYPES = ("float32", "bfloat16")
_WEIGHT_BYTES = {"float32": 4, "bfloat16": 2}
_SEED = 0


@dataclass(frozen=True)
class Subject:
    """One model in one weight type. path: where it lies, None for a random one."""

    name: str
    config: ModelConfig
    path: Path | None = None

    @property
    def label(self) -> str:
        """Name and weight type."""
        return f"{self.name} {self.config.dtype}"

    @property
    def num_parameters(self) -> int:
        """All of them, embeddings included."""
        return num_parameters(self.config)

    @property
    def body_parameters(self) -> int:
        """Those that every token of a prompt is multiplied with: neither embedding nor head."""
        copies = 1 if self.config.tie_embeddings else 2
        return self.num_parameters - copies * self.config.vocab_size * self.config.hidden_size

    @property
    def decode_bytes(self) -> int:
        """Weights read for one step, whatever its batch: body and head."""
        head = self.config.vocab_size * self.config.hidden_size
        return (self.body_parameters + head) * _WEIGHT_BYTES[self.config.dtype]

    def prefill_flops(self, tokens: int) -> float:
        """2 per body parameter and token; the head is applied to one token only."""
        head = self.config.vocab_size * self.config.hidden_size
        return 2.0 * (self.body_parameters * tokens + head)

    def decode_flops(self, batch: int) -> float:
        """2 per parameter of body and head and sequence."""
        return 2.0 * batch * (self.body_parameters + self.config.vocab_size * self.config.hidden_size)

    def load(self, *, pack: bool = True) -> ParaRNNForCausalLM:
        """The model; a random one is drawn from a fixed seed."""
        if self.path is not None:
            return load_checkpoint(self.path, pack=pack)
        torch.manual_seed(_SEED)
        model = ParaRNNForCausalLM(self.config).to(getattr(torch, self.config.dtype))
        return model.pack() if pack else model


def shipped() -> list[Subject]:
    """The checkpoints of this repository that are meant for use."""
    folders = [each.parent for each in sorted(CHECKPOINTS.glob("*/config.json"))]
    return [Subject(folder.name, checkpoint_info(folder).config, folder) for folder in folders]


def random_presets() -> list[Subject]:
    """25m and 130m, each in float32 and bfloat16, ParaGRU."""
    return [
        Subject(f"random {preset}", dataclasses.replace(ModelConfig.preset(preset), dtype=dtype))
        for preset in PRESETS
        for dtype in DTYPES
    ]
