"""The curve of a run as a picture: held-out KL and cross-entropy over tokens, each stage's loss below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from checkpoints.distil.token_streams import KINDS

Row = dict[str, Any]
MILLION = 1e6


def save_curve(rows: Sequence[Row], file: Path) -> None:
    """Write a PNG."""
    figure = Figure(figsize=(7, 6), dpi=100, layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    _held_out(top, [row for row in rows if "held_out" in row])
    for stage, label in (("align", "error of a mixer, relative"), ("distil", "KL, training, nats a token")):
        of_stage = [row for row in rows if row["stage"] == stage]
        tokens = [row["tokens"] / MILLION for row in of_stage]
        bottom.plot(tokens, [row["loss"] for row in of_stage], label=label)
    bottom.set(xlabel="million tokens", ylabel="loss", ylim=(0, 1))
    bottom.legend()
    figure.savefig(file, format="png")


def _held_out(axes: Axes, rows: Sequence[Row]) -> None:
    tokens = [row["tokens"] / MILLION for row in rows]
    for kind, style in zip(KINDS, ("-", "--"), strict=True):
        for value, label in (("kl", "KL to the teacher"), ("student", "cross-entropy")):
            heights = [row["held_out"][kind][value] for row in rows]
            axes.plot(tokens, heights, style, marker="o", markersize=2, label=f"{label}, {kind}")
        axes.plot(tokens, [row["held_out"][kind]["teacher"] for row in rows], "k", lw=0.5, linestyle=style)
    axes.set(ylabel="nats a token, held out", ylim=(0, 7))
    axes.legend()
