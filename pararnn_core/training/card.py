"""The card of a checkpoint that `pararnn train` made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.training.perplexity import Perplexity
from pararnn_core.training.plan import Plan
from pararnn_core.training.run_folder import Row

CURVE_FILE = "learning-curve.png"


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card. facts: of the run's folder; rows: of its log; quality: on held-out documents."""

    name: str
    config: ModelConfig
    plan: Plan
    facts: Mapping[str, Any]
    training_tokens: int
    rows: Sequence[Row]
    quality: Perplexity


def render_card(facts: CardFacts, with_curve: bool) -> str:
    """Return the card in Markdown."""
    parts = [_summary(facts), _training(facts, with_curve), _quality(facts), _LIMITS]
    return "\n".join(parts)


_LIMITS = """## Limits

The model has learned from this text alone. It continues text of that kind, and can reproduce passages of it.
The chat template is there, but the model has seen no chat: `pararnn chat --raw` continues text.
Judge it on your own task before you use it.
"""


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return Linux's name of the processor, or "an unknown processor"."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unknown processor"


def _summary(facts: CardFacts) -> str:
    config = facts.config
    tied = ", embeddings tied" if config.tie_embeddings else ""
    return f"""# {facts.name}

A {config.architecture} language model of {config.num_parameters:,} parameters, trained from scratch.
`pararnn train` made it. Weights are {config.dtype}.

| | |
|---|---|
| layers, hidden size, heads | {config.num_hidden_layers}, {config.hidden_size}, {config.num_heads} |
| vocabulary | {config.vocab_size} tokens{tied} |
| trained on sequences of | {facts.plan.recipe.seq_len} tokens |
"""


def _training(facts: CardFacts, with_curve: bool) -> str:
    plan, recipe, last = facts.plan, facts.plan.recipe, facts.rows[-1]
    optimizer = "Muon for matrices, AdamW for the rest" if recipe.use_muon else "AdamW"
    shape = f"{recipe.accumulate * recipe.batch_size} x {recipe.seq_len}"
    epochs = last["tokens"] / facts.training_tokens
    where = processor_name() if plan.device == "cpu" else plan.device
    curve = f"\n![Learning curve]({CURVE_FILE})\n" if with_curve else ""
    return f"""## Training

Text: {facts.facts["text"]}, SHA-256 of the files' SHA-256 `{facts.facts["text_sha256"]}`.
{last["tokens"] / 1e6:.2f} million tokens, in {int(last["step"]):,} steps of {shape}, from \
{facts.training_tokens / 1e6:.2f} million different ones ({epochs:.1f} epochs).
{optimizer}; peak learning rate {recipe.learning_rate}, falling to zero; seed {recipe.seed}.
Matrix products in {recipe.products}, parameters in float32.
{last["seconds"] / 60:.0f} minutes on {plan.threads} threads of {where}. PyTorch {facts.facts["torch"]}.
{curve}"""


def _quality(facts: CardFacts) -> str:
    quality = facts.quality
    return f"""## Quality

On {len(facts.facts["lengths"])} held-out documents ({quality.num_bytes:,} bytes, {quality.tokens:,} tokens).
No training token comes from them.
A large file is several documents, so a held-out one may be a neighbour of a training one.
The model reads each from a zero state, through the serving path, with the weights as saved here.

| bits per byte | perplexity of a token |
|---|---|
| {quality.bits_per_byte:.3f} | {quality.perplexity:.2f} |
"""
