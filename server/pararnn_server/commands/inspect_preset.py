"""`pararnn inspect 7b`: what models of a size would take here, without one of them."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pararnn_core.cells import CELLS
from pararnn_core.models.pararnn.config import PRESETS
from pararnn_core.models.pararnn.state_layout import state_bytes
from pararnn_server.bench.limits import read_bandwidth
from pararnn_server.bench.subject import WEIGHTS, Subject
from pararnn_server.metrics.units import as_bytes, as_count
from pararnn_server.settings.server_settings import Settings

_WIDTH_OF_A_FILE = 120
# More than any cache holds; a model of many gigabytes is read no faster.
_BYTES_READ = 512 << 20


def inspect_preset(name: str, *, measure: bool, as_json: bool) -> None:
    """Print what each cell and format of weights of a preset takes."""
    rate = read_bandwidth(_BYTES_READ).median if measure else None
    facts = describe_preset(name, rate)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OF_A_FILE)
    console.print(_table(facts))


def describe_preset(name: str, bytes_per_second: float | None) -> dict[str, Any]:
    """Return everything shown, as JSON. Sizes are bytes; a limit is tokens/s of one reply."""
    slots = Settings.model_fields["max_num_seqs"].default
    subjects = [Subject.random(name, weights, cell) for cell in CELLS for weights in WEIGHTS]
    return {
        "preset": name,
        "shape": PRESETS[name],
        "slots": slots,
        "models": [_model(each, slots, bytes_per_second) for each in subjects],
    }


def _model(subject: Subject, slots: int, bytes_per_second: float | None) -> dict[str, Any]:
    state = state_bytes(subject.config)
    return {
        "cell": subject.config.cell,
        "weights": subject.weights,
        "num_parameters": subject.num_parameters,
        "weight_bytes": subject.weight_bytes,
        "state_bytes": state,
        "running_bytes": slots * state,
        "memory_bytes": subject.weight_bytes + slots * state,
        "limit": None if bytes_per_second is None else bytes_per_second / subject.decode_bytes,
    }


def _table(facts: dict[str, Any]) -> Table:
    title = f"{facts['preset']}: " + ", ".join(f"{name} {value}" for name, value in facts["shape"].items())
    table = Table(title=title, title_justify="left")
    headings = (
        "parameters",
        "weights",
        "state of a session",
        f"{facts['slots']} sessions",
        "together",
        "limit",
    )
    table.add_column("model")
    for heading in headings:
        table.add_column(heading, justify="right")
    for model in facts["models"]:
        limit = "" if model["limit"] is None else f"{model['limit']:,.1f} tokens/s"
        sizes = [
            as_bytes(model[key]) for key in ("weight_bytes", "state_bytes", "running_bytes", "memory_bytes")
        ]
        label = f"Para{model['cell'].upper()} {model['weights']}"
        table.add_row(label, as_count(model["num_parameters"]), *sizes, limit)
    return table
