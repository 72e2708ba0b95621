"""`pararnn quantize`: a float checkpoint becomes one of 8-bit or 4-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from pararnn_core import ops
from pararnn_core.checkpoint import checkpoint_info
from pararnn_core.checkpoint.checkpoint_directory import config_fields
from pararnn_core.models.pararnn.quantization_config import format_for
from pararnn_core.models.rwkv7 import config as rwkv7
from pararnn_core.quantize import Text, quantize_checkpoint
from pararnn_core.quantize.quantize_card import Quantized
from pararnn_core.quantize.quantize_rwkv7 import quantize_rwkv7
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_argument, path_option, read_settings
from pararnn_server.commands.progress import StageProgress
from pararnn_server.commands.text_files import TextFiles
from pararnn_server.metrics.units import as_bytes
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.text.tokenizer import Tokenizer


@one_line_errors()
def quantize(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Float checkpoint: a directory, or a name as `serve` takes."),
    ],
    target: Annotated[
        Path, path_argument("Directory to write; an older checkpoint there is replaced.", "TARGET")
    ],
    bits: Annotated[int, option("Bits of a weight: 8 or 4.")] = 8,
    group_size: Annotated[
        int | None, option("Inputs that share a scale; default: 128 for 8 bits, 32 for 4 bits.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        path_option("Text, a file or a folder of files, on which rounding makes up for its own errors."),
    ] = None,
    evaluate: Annotated[
        Path | None,
        path_option("Text, a file or a folder of files, on which both models are measured for the card."),
    ] = None,
    threads: Annotated[int, option("Threads; 0 means one per core.", min=0, max=1024)] = 0,
) -> None:
    """Quantise a checkpoint to a half or a quarter of its bfloat16 size.

    The card of the result says how it was made and, with --evaluate, what that cost in quality: perplexity,
    divergence and agreement, measured in the arithmetic that is served.
    """
    try:
        format_for(bits, group_size)
    except ValueError as error:
        raise CommandFailed(f"--bits, --group-size: {error}") from None
    path = find_checkpoint(read_settings({"checkpoint": source}), "SOURCE")
    if config_fields(path).get("model_type") == rwkv7.MODEL_TYPE:
        if calibrate is not None or evaluate is not None:
            raise CommandFailed("--calibrate, --evaluate: an RWKV-7 takes neither in this version")
        with StageProgress() as progress:
            made_rwkv7 = quantize_rwkv7(path, target, bits, group_size, progress)
        _tell_size(target, made_rwkv7.weight_bytes, made_rwkv7.bits_per_weight)
        return
    calibration, evaluation = _text(path, "--calibrate", calibrate), _text(path, "--evaluate", evaluate)
    # Here torch works too: calibration solves for the rounding with it.
    torch.set_num_threads(threads or ops.num_threads())
    ops.set_num_threads(threads or ops.num_threads())
    with StageProgress() as progress:
        made = quantize_checkpoint(path, target, bits, group_size, calibration, evaluation, progress)
    _tell(made, target)


def _text(checkpoint: Path, option_name: str, path: Path | None) -> Text | None:
    if path is None:
        return None
    files = TextFiles(option_name, path)
    tokenizer = Tokenizer(checkpoint, checkpoint_info(checkpoint).config.vocab_size)
    return Text(files.documents(tokenizer), files.description)


def _tell_size(target: Path, weight_bytes: int, bits_per_weight: float) -> None:
    typer.echo(f"{target}: {as_bytes(weight_bytes)}, {bits_per_weight:.2f} bits per weight of a matrix")


def _tell(made: Quantized, target: Path) -> None:
    _tell_size(target, made.weight_bytes, made.bits_per_weight)
    quality = made.quality
    if quality is None:
        typer.echo("No quality was measured: --evaluate takes a text for it.", err=True)
        return
    before, after = f"{quality.float_perplexity:.4f}", f"{quality.perplexity:.4f}"
    typer.echo(f"perplexity {before} -> {after} ({100 * quality.increase:+.2f} %)")
    typer.echo(
        f"divergence {quality.mean_divergence:.5f}, 99th percentile {quality.p99_divergence:.4f};"
        f" same likeliest token {100 * quality.top1_agreement:.2f} %"
    )
