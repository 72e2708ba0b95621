"""The picture of both models: memory, speed and perplexity by context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.beside_teacher.points import TEACHER_CONTEXT, Point
from benchmarks.beside_teacher.results_file import Results

PANELS = (
    ("memory", "Memory of one conversation", "bytes", "log"),
    ("decode_rate", "Speed of writing", "tokens per second", "linear"),
    ("perplexity", "Perplexity of the same passages", "perplexity (lower is better)", "log"),
)
MODELS = (
    ("ParaGRU, 141M, on this server", "tab:blue"),
    ("its teacher, SmolLM2-135M, on llama.cpp", "tab:red"),
)
DESCRIPTION = (
    "Memory, speed and perplexity of the chat model and of its teacher by context."
    " Made by python -m benchmarks.beside_teacher."
)
CONTEXT_TICKS = (64, 512, 4096, 32_768)


def draw(results: Results, file: Path) -> None:
    """Write the picture. The same results give the same bytes, with one version of matplotlib."""
    ours = [part.ours for part in results.parts]
    its = [part.its for part in results.parts if part.its is not None]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "pararnn", "font.family": "sans-serif"}):
        # As wide as the README's column shows it: a larger figure would be shrunk, and its text with it.
        figure = Figure(figsize=(10.0, 3.9), layout="constrained")
        figure.patch.set_facecolor("white")
        axes: Axes
        for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            _draw_panel(axes, panel, (ours, its))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        machine, threads = results.settings["machine"], results.settings["threads"]
        figure.suptitle(f"Measured on {machine}, {threads} threads", fontsize="medium")
        figure.savefig(file, metadata={"Date": None, "Description": DESCRIPTION})


def _draw_panel(axes: Axes, panel: tuple[str, str, str, str], points: Sequence[Sequence[Point]]) -> None:
    name, title, unit, scale = panel
    for some, (model, colour) in zip(points, MODELS, strict=True):
        heights = [getattr(point, name) for point in some]
        axes.plot([point.tokens for point in some], heights, "o-", markersize=4, color=colour, label=model)
    axes.axvline(TEACHER_CONTEXT, color="grey", linestyle=":", label="end of the teacher's training context")
    axes.set_xscale("log", base=2)
    axes.set_yscale(scale)
    if name == "memory":
        axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    elif scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="tokens of context", ylabel=unit)
    axes.set_title(title, fontsize="medium")
    axes.set_xticks(CONTEXT_TICKS, [f"{tokens:,}" for tokens in CONTEXT_TICKS])
    axes.grid(alpha=0.3)
