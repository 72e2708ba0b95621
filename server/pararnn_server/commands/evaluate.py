"""`pararnn evaluate`: how well a checkpoint predicts a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from pararnn_core import ops
from pararnn_core.checkpoint import checkpoint_info, load_checkpoint
from pararnn_core.training.perplexity import Perplexity, measure_perplexity
from pararnn_core.training.text_files import TextError, TextFiles
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_option, read_settings
from pararnn_server.commands.progress import StageProgress
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.text.tokenizer import Tokenizer


@one_line_errors(TextError)
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A directory, or a name as `serve` takes.")
    ],
    text: Annotated[Path, path_option("Text to predict: a file, or a folder whose text files are taken.")],
    encoding: Annotated[str, option("Encoding of the text.")] = "utf-8",
    threads: Annotated[int, option("Threads; 0 means one per core.", min=0, max=1024)] = 0,
    as_json: Annotated[bool, option("Print JSON, not text.", "--json", env="JSON")] = False,
) -> None:
    """Measure perplexity and bits per byte of a text, by the steps that the server runs.

    Each file is read in full, from an empty state. Memory does not depend on the text's length.
    """
    path = find_checkpoint(read_settings({"checkpoint": checkpoint}), "CHECKPOINT")
    tokenizer = Tokenizer(path, checkpoint_info(path).config.vocab_size)
    # Torch computes only the softmax here.
    torch.set_num_threads(1)
    ops.set_num_threads(threads or ops.num_threads())
    with StageProgress() as progress:
        files = TextFiles(text, encoding, progress)
        model, total = load_checkpoint(path), files.num_bytes
        try:
            found = measure_perplexity(
                model,
                _documents(files, tokenizer),
                lambda done, bits: progress("measuring", done, total),
            )
        except ValueError as error:
            raise CommandFailed(f"--text {text}: {error}") from None
    figures = _figures(found, files)
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
        return
    typer.echo(f"{files.description}: {found.tokens:,} tokens predicted")
    typer.echo(f"bits per byte {found.bits_per_byte:.4f}, perplexity {found.perplexity:.4f} of a token")


def _documents(files: TextFiles, tokenizer: Tokenizer) -> Iterator[Iterator[tuple[list[int], int]]]:
    """Yield the files, each as its pieces' token ids and bytes. A BOS comes first where the model has one."""
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for pieces in files.whole_files():
        yield _pieces(pieces, tokenizer, start)


def _pieces(pieces: Iterator[str], tokenizer: Tokenizer, start: list[int]) -> Iterator[tuple[list[int], int]]:
    for number, piece in enumerate(pieces):
        # Plain characters: a text that spells a special token does not mean it.
        ids = tokenizer.plain_ids(piece)
        yield (ids if number else start + ids), len(piece.encode())


def _figures(found: Perplexity, files: TextFiles) -> dict[str, Any]:
    return {
        "files": files.num_files,
        "left_out": files.left_out,
        "bytes": found.num_bytes,
        "tokens": found.tokens,
        "bits_per_byte": found.bits_per_byte,
        "perplexity": found.perplexity,
        "nats_per_token": found.nats / found.tokens,
    }
