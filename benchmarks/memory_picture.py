"""Draw docs/memory.svg: `python -m benchmarks.memory_picture`. Memory of one conversation against its tokens.

Nothing is measured. The state's bytes are those that `pararnn inspect 1.4b` prints. A transformer of the same
layers and width keeps a key and a value of each layer for each token, in bfloat16.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_bytes

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "memory.svg"
PRESET = "1.4b"
TOKENS = [2**power for power in range(4, 21)]
SHARED_HEADS = 8
"""Query heads that share a key and a value, where a transformer saves memory in this way."""
_BYTES_OF_BFLOAT16 = 2
_BYTES_OF_AN_ID = 4


def bytes_by_tokens() -> dict[str, list[int]]:
    """Return bytes of one conversation after each number of TOKENS, by the name of the line."""
    config = ModelConfig.preset(PRESET)
    state = state_bytes(config)
    a_token = 2 * config.num_hidden_layers * config.hidden_size * _BYTES_OF_BFLOAT16
    return {
        f"transformer's cache, {a_token // 1024} KiB a token": [a_token * tokens for tokens in TOKENS],
        f"the same with grouped-query attention ({SHARED_HEADS} query heads per key head)": [
            a_token // SHARED_HEADS * tokens for tokens in TOKENS
        ],
        f"ParaGRU's state, {state:,} bytes": [state] * len(TOKENS),
        "log of its token ids, on disk": [_BYTES_OF_AN_ID * tokens for tokens in TOKENS],
    }


def draw(file: Path) -> None:
    """Write the picture. The same numbers give the same bytes, with one version of matplotlib."""
    description = (
        f"Memory of one conversation against its tokens, computed for {PRESET}, not measured."
        " A ParaGRU's state is flat. A transformer's cache and the log of token ids grow with each token."
        " Made by python -m benchmarks.memory_picture."
    )
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "pararnn", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7.5, 5.0), layout="constrained")
        figure.patch.set_facecolor("white")
        axes = figure.subplots()
        styles = ("-", "--", "-", ":")
        for (name, heights), style in zip(bytes_by_tokens().items(), styles, strict=True):
            own = "transformer" not in name and "same" not in name
            axes.plot(TOKENS, heights, style, color="tab:blue" if own else "tab:red", label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set(xlabel="tokens of the conversation", ylabel="bytes")
        axes.set_title(f"Memory of one conversation: computed, not measured; {PRESET} models")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_in_words))
        axes.grid(alpha=0.3)
        axes.set_ylim(2**5, 2**42)
        figure.legend(loc="outside lower center", frameon=False)
        figure.savefig(file, metadata={"Date": None, "Description": description})


def _in_words(value: float, _: int | None = None) -> str:
    """Return a power of two with Ki, Mi, Gi or Ti."""
    for unit, size in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


if __name__ == "__main__":
    draw(PICTURE)
