"""The picture of both models: memory, speed and perplexity by context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.beside_teacher.points import TEACHER_CONTEXT, Point

PANELS = (
    ("memory", "bytes of one conversation", "log"),
    ("decode_rate", "tokens/s, decoding", "linear"),
    ("perplexity", "perplexity of the same passages", "log"),
)
MODELS = (("ParaGRU, 141M", "tab:blue"), ("its teacher, a transformer of 135M", "tab:red"))


def draw(ours: Sequence[Point], its: Sequence[Point], file: Path) -> None:
    """Write the picture. its: the teacher's points."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "pararnn", "font.family": "sans-serif"}):
        figure = Figure(figsize=(11.0, 4.0), layout="constrained")
        figure.patch.set_facecolor("white")
        axes: Axes
        for axes, (name, label, scale) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            for points, (model, colour) in zip((ours, its), MODELS, strict=True):
                heights = [getattr(point, name) for point in points]
                axes.plot([point.tokens for point in points], heights, "o-", color=colour, label=model)
            axes.axvline(TEACHER_CONTEXT, color="grey", linestyle=":")
            axes.set_xscale("log", base=2)
            axes.set_yscale(scale)
            axes.set(xlabel="tokens of context", ylabel=label)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:,.0f}"))
            axes.tick_params(axis="x", rotation=45)
            axes.grid(alpha=0.3)
        axes.set_ylim(bottom=min(point.perplexity for point in (*ours, *its)) * 0.8)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        description = "Memory, speed and perplexity of the chat model and of its teacher by context."
        figure.savefig(file, metadata={"Date": None, "Description": description})
