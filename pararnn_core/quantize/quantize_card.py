"""The card of a quantised checkpoint: its making, its quality, then the card of its source."""

from __future__ import annotations

from dataclasses import dataclass

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig
from pararnn_core.quantize.quality import Quality


@dataclass(frozen=True)
class Quantized:
    """The result of a quantisation.

    source, name: names of the float checkpoint and of this one; config: of this one
    bits_per_weight: of all matrices, scales included; weight_bytes: of all tensors
    calibrated_on, measured_on: descriptions of the texts; None if there was none
    """

    source: str
    source_dtype: str
    source_weight_bytes: int
    name: str
    config: ModelConfig
    bits_per_weight: float
    weight_bytes: int
    calibrated_on: str | None
    measured_on: str | None
    quality: Quality | None


def render_card(made: Quantized, source_card: str | None) -> str:
    """Return the card in Markdown."""
    parts = [_making(made), _quality(made)]
    if source_card is not None:
        parts.append(f"""## Before

What follows is the card of `{made.source}`. Its figures are those of its own weights.""")
        parts.append(source_card.strip())
    return "\n\n".join(parts) + "\n"


def describe_formats(quantization: QuantizationConfig) -> str:
    """Return such text: int4, a scale for 32 inputs; int8, a scale for 128 inputs: `embedding.weight`."""
    others: dict[MatrixFormat, list[str]] = {}
    for name, each in quantization.overrides:
        others.setdefault(each, []).append(f"`{name}`")
    exceptions = [f"{_format(each)}: {', '.join(names)}" for each, names in others.items()]
    return "; ".join([_format(quantization.default), *exceptions])


def _format(matrix_format: MatrixFormat) -> str:
    return f"int{matrix_format.bits}, a scale for {matrix_format.group_size} inputs"


def _making(made: Quantized) -> str:
    quantization = made.config.quantization
    if quantization is None:
        raise ValueError("config: of a model that is not quantised")
    rounding = "plain: each weight by itself, each group by its best scale; no calibration text"
    if made.calibrated_on is not None:
        rounding = f"error-compensated (GPTQ), layer by layer, on {made.calibrated_on}"
    return f"""# {made.name}

`{made.source}` with its matrices quantised. Everything else, and the state, is float32; what a matrix is
multiplied with is rounded to 8 bits by row and group.

## Quantisation

| | |
|---|---|
| matrices | {describe_formats(quantization)} |
| bits per weight of a matrix | {made.bits_per_weight:.2f}, scales included |
| all weights | {made.weight_bytes:,} bytes, before {made.source_weight_bytes:,} in {made.source_dtype} |
| rounding | {rounding} |"""


def _quality(made: Quantized) -> str:
    if made.quality is None:
        return "No quality was measured: there was no text for it."
    quality = made.quality
    before, after = f"{quality.float_perplexity:.4f}", f"{quality.perplexity:.4f}"
    return f"""Measured on {made.measured_on}: {quality.tokens:,} tokens, every document
read from a zero state, both models in the arithmetic that is served.

| | before | quantised |
|---|---|---|
| perplexity of a token | {before} | {after} ({100 * quality.increase:+.2f} %) |
| KL divergence from before, nats a token: mean | | {quality.mean_divergence:.5f} |
| 99th percentile | | {quality.p99_divergence:.4f} |
| tokens with the same likeliest one | | {100 * quality.top1_agreement:.2f} % |"""
