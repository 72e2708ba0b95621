"""`pararnn inspect`: what a checkpoint holds and what its sessions will cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pararnn_core.checkpoint.serving_checkpoint import ServingInfo, serving_info, verify_serving_checkpoint
from pararnn_core.models.pararnn.config import PRESETS
from pararnn_core.state import parts_bytes
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.bench.limits import read_bandwidth
from pararnn_server.commands.failure import one_line_errors
from pararnn_server.commands.inspect_preset import inspect_preset
from pararnn_server.commands.options import option, read_settings
from pararnn_server.commands.progress import ByteProgress
from pararnn_server.metrics.units import as_bytes, as_count
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.settings.paths import printable

_WIDTH_OF_A_FILE = 120
# More than any cache holds; a model of many gigabytes is read no faster.
_MOST_BYTES_READ = 512 << 20


@one_line_errors()
def inspect_checkpoint(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Directory of the checkpoint, or its name, or a size as `bench --random` takes; default: the"
            " one that `serve` would take.",
            envvar="PARARNN_CHECKPOINT",
        ),
    ] = None,
    verify: Annotated[
        bool, option("Read every byte: check the fingerprint and that all is finite.", "--verify")
    ] = False,
    measure: Annotated[
        bool,
        option("Measure what this machine's memory allows, about a second.", "--measure/--no-measure"),
    ] = True,
    as_json: Annotated[bool, option("Print JSON, not tables.", "--json", env="JSON")] = False,
) -> None:
    """Show a checkpoint: its configuration, every tensor, the bytes of one session, the machine's limit.

    Reads headers only, unless --verify is given. Of a size such as 7b it shows what its models would take.
    """
    try:
        path = find_checkpoint(read_settings({"checkpoint": checkpoint}), "CHECKPOINT")
    except ConfigurationError as error:
        if checkpoint not in PRESETS:
            raise ConfigurationError(f"{error}; sizes are {', '.join(PRESETS)}") from None
        inspect_preset(checkpoint, measure=measure, as_json=as_json)
        return
    info = serving_info(path)
    if verify:
        with ByteProgress("checking") as report:
            verify_serving_checkpoint(path, report)
    facts = describe(path, info, verified=verify)
    facts["limit"] = limit(info.decode_bytes) if measure else None
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)


def describe(path: Path, info: ServingInfo, *, verified: bool) -> dict[str, Any]:
    """Return everything shown, as JSON. Sizes are bytes."""
    return {
        "path": str(path),
        "config": info.config.to_dict(),
        "fingerprint": info.fingerprint,
        "verified": verified,
        "has_tokenizer": info.has_tokenizer,
        "has_chat_template": info.has_chat_template,
        "num_parameters": info.config.num_parameters,
        "weight_bytes": info.weight_bytes,
        "state_bytes": parts_bytes(info.state_parts),
        "state": [
            {"name": part.name, "shape": list(part.shape), "dtype": _name(part.dtype), "bytes": part.nbytes}
            for part in info.state_parts
        ],
        "tensors": [
            {"name": each.name, "shape": list(each.shape), "dtype": each.dtype, "bytes": each.nbytes}
            for each in info.tensors
        ],
    }


def limit(decode_bytes: int) -> dict[str, float]:
    """Return the bytes that a token of a lone reply reads, and the tokens per second that memory allows."""
    rate = read_bandwidth(min(decode_bytes, _MOST_BYTES_READ)).median
    return {
        "bytes_read_per_token": decode_bytes,
        "read_bytes_per_second": rate,
        "decode_tokens_per_second": rate / decode_bytes,
    }


def _show(facts: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        # Without a terminal Rich assumes 80 columns and would cut names of tensors.
        console = Console(width=_WIDTH_OF_A_FILE)
    console.print(_summary(facts))
    console.print(_parts_table("State of one session, whatever its length", facts["state"]))
    console.print(_parts_table("Tensors", facts["tensors"]))


def _summary(facts: dict[str, Any]) -> Table:
    table = Table(title=printable(facts["path"]), show_header=False, title_justify="left")
    table.add_column()
    # A fingerprint is longer than a narrow terminal: it is folded, never cut.
    table.add_column(overflow="fold")
    checked = "checked against every byte" if facts["verified"] else "not checked, see --verify"
    count = facts["num_parameters"]
    table.add_row("parameters", f"{count:,} ({as_count(count)})")
    table.add_row("weights", as_bytes(facts["weight_bytes"]))
    table.add_row("state of a session", f"{as_bytes(facts['state_bytes'])} ({facts['state_bytes']:,} bytes)")
    allowed = facts["limit"]
    if allowed is not None:
        rate, read = (
            as_bytes(int(allowed["read_bytes_per_second"])),
            as_bytes(allowed["bytes_read_per_token"]),
        )
        most = allowed["decode_tokens_per_second"]
        table.add_row("limit", f"{most:,.0f} tokens/s of one reply: {read} a token at {rate}/s, measured")
    table.add_row("fingerprint", f"{facts['fingerprint'] or 'none'} ({checked})")
    table.add_row("tokenizer", "yes" if facts["has_tokenizer"] else "no")
    table.add_row("chat template", "yes" if facts["has_chat_template"] else "no")
    table.add_section()
    for name, value in facts["config"].items():
        table.add_row(name, "-" if value is None else str(value))
    return table


def _parts_table(title: str, parts: list[dict[str, Any]]) -> Table:
    table = Table("name", "shape", "dtype", title=title, title_justify="left", show_footer=True)
    table.add_column("bytes", justify="right", footer=f"{sum(part['bytes'] for part in parts):,}")
    for part in parts:
        shape = " x ".join(str(size) for size in part["shape"])
        table.add_row(part["name"], shape, part["dtype"], f"{part['bytes']:,}")
    return table


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
