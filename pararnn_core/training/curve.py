"""The learning curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pararnn_core.training.run_folder import Row

SMOOTHING = 0.95


def save_curve(
    rows: Sequence[Row], baselines: Mapping[str, float], bits_per_nat: float, file: Path | IO[bytes]
) -> None:
    """Draw training and held-out bits per byte over tokens, with baselines, and the learning rate below.

    bits_per_nat: factor of the corpus from nats per token to bits per byte
    """
    figure = Figure(figsize=(7, 5), dpi=100, layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    _losses(top, rows, bits_per_nat)
    for (name, value), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        top.axhline(value, color="grey", linestyle=style, linewidth=1, label=f"{name} {value:.2f}")
    # The first steps are far above all others, and would flatten them.
    losses = [row["loss"] * bits_per_nat for row in rows]
    top.set(ylabel="bits per byte", ylim=(0.9 * min(losses), losses[len(losses) // 20]))
    top.legend()
    bottom.plot([row["tokens"] / 1e6 for row in rows], [row["learning_rate"] for row in rows], color="black")
    bottom.set(xlabel="million tokens", ylabel="learning rate")
    figure.savefig(file, format="png")


def _losses(axes: Axes, rows: Sequence[Row], bits_per_nat: float) -> None:
    tokens = [row["tokens"] / 1e6 for row in rows]
    axes.plot(tokens, smoothed([row["loss"] * bits_per_nat for row in rows]), label="training")
    probed = [row for row in rows if "held_out_bits_per_byte" in row]
    heights = [row["held_out_bits_per_byte"] for row in probed]
    axes.plot([row["tokens"] / 1e6 for row in probed], heights, "o-", markersize=3, label="held out (probe)")


def smoothed(values: Sequence[float]) -> list[float]:
    """Return an exponential average over about 1 / (1 - SMOOTHING) values, unbiased at the start."""
    result: list[float] = []
    total = weight = 0.0
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        result.append(total / weight)
    return result
