"""`pararnn convert`: weights trained elsewhere become a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pararnn_core.checkpoint.checkpoint_text import MAX_TEMPLATE_BYTES
from pararnn_core.convert import Conversion, ConvertedCells, convert_checkpoint
from pararnn_core.storage.untrusted_file import CheckpointError, read_text
from pararnn_server.commands.assignments import assignment
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_argument, path_option
from pararnn_server.metrics.units import as_count


@one_line_errors()
def convert(
    source: Annotated[
        Path,
        path_argument("A safetensors file, a folder of them, or (--allow-pickle) a state dict.", "SOURCE"),
    ],
    target: Annotated[
        Path, path_argument("Directory to write; an older checkpoint there is replaced.", "TARGET")
    ],
    key_map: Annotated[
        Path | None, path_option("JSON file that maps our names to the source's; see checkpoints/.")
    ] = None,
    allow_pickle: Annotated[
        bool,
        option("Read a pickled state dict; only its tensors are taken, no code is run.", "--allow-pickle"),
    ] = False,
    tokenizer: Annotated[
        Path | None,
        path_option("tokenizer.json of the model, or a directory that holds it; default: SOURCE."),
    ] = None,
    chat_template: Annotated[Path | None, path_option("File with the Jinja template for chat.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        option("Type of the weights; default: as they are.", metavar="[float32|bfloat16]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        option(
            "Field of the configuration, such as eos_token_id=2.", "--set", env="SET", metavar="FIELD=VALUE"
        ),
    ] = None,
) -> None:
    """Convert weights that were trained elsewhere into a checkpoint.

    Without --key-map the source must be the state dict of the public ParaRNN fork's trainer, an RWKV-7 as its
    author publishes it, or ParaGRU and ParaLSTM cells of the original or of pararnn-torch.
    """
    overrides = dict(assignment(text) for text in set_ or [])
    if dtype is not None:
        overrides["dtype"] = dtype
    with Console(stderr=True).status(f"converting {source}"):
        done = convert_checkpoint(
            source,
            target,
            key_map=key_map,
            allow_pickle=allow_pickle,
            overrides=overrides,
            tokenizer=tokenizer,
            chat_template=None if chat_template is None else _text(chat_template),
        )
    if isinstance(done, ConvertedCells):
        kinds = ", ".join(f"{prefix or 'one '}{kind}" for prefix, kind in done.kinds.items())
        typer.echo(f"{target}: cells without a language model ({kinds}), for pararnn_core.convert.load_cell")
        return
    _tell(done, target)


def _tell(done: Conversion, target: Path) -> None:
    config = done.config
    typer.echo(
        f"{target}: {config.architecture}, {as_count(done.num_parameters)} parameters in {config.dtype},"
        f" fingerprint {done.fingerprint}"
    )
    for note in done.notes:
        typer.echo(note, err=True)


def _text(path: Path) -> str:
    try:
        return read_text(path, MAX_TEMPLATE_BYTES, within=None)
    except CheckpointError as error:
        raise CommandFailed(f"--chat-template {error}") from error
