"""Measurement of a published model's loss by quantisation: `python -m checkpoints.quality FOLDER`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from checkpoints.corpus import load_documents, split_documents
from checkpoints.evaluate import ended_documents
from checkpoints.quantize_shipped import BITS, MADE, PUBLISHED, quantized_name
from pararnn_core.checkpoint import CheckpointError, checkpoint_info, load_checkpoint
from pararnn_core.quantize.quality import Quality, measure_quality
from pararnn_core.training.tokenizer import load_tokenizer

_COLUMNS = ("MB", "perplexity", "change", "KL mean", "KL 99 %", "top-1")
_WIDTH_OF_A_FILE = 110


def measure(
    folder: Path, source: Path, bits: int, documents: Sequence[Tensor], progress: Progress
) -> Quality:
    """Measure one quantised checkpoint beside the float one. Raises CheckpointError."""
    version = quantized_name(source.name, bits)
    task = progress.add_task(version)

    def report(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    return measure_quality(load_checkpoint(source), load_checkpoint(folder / version), documents, report)


def rows(
    folder: Path, source: Path, documents: Sequence[Tensor], progress: Progress
) -> list[tuple[str, ...]]:
    """Return a row for the model and one for each of its quantised versions. Raises CheckpointError."""
    each = {bits: measure(folder, source, bits, documents, progress) for bits in BITS}
    before = f"{each[BITS[0]].float_perplexity:.4f}"
    versions = [_row(folder, quantized_name(source.name, bits), quality) for bits, quality in each.items()]
    return [(source.name, _megabytes(source), before, "", "", "", ""), *versions]


def _row(folder: Path, version: str, quality: Quality) -> tuple[str, ...]:
    return (
        version,
        _megabytes(folder / version),
        f"{quality.perplexity:.4f}",
        f"{100 * quality.increase:+.3f} %",
        f"{quality.mean_divergence:.5f}",
        f"{quality.p99_divergence:.4f}",
        f"{100 * quality.top1_agreement:.2f} %",
    )


def _megabytes(folder: Path) -> str:
    return f"{checkpoint_info(folder).weight_bytes / 1e6:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", type=Path, nargs="?", default=PUBLISHED, help="of checkpoints.publish; default: %(default)s"
    )
    parser.add_argument(
        "--checkpoints", type=Path, default=MADE, help="of checkpoints.quantize_shipped; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    _, held_out = split_documents(load_documents())
    try:
        documents = ended_documents(load_tokenizer(options.source), held_out)
        with Progress(console=Console(stderr=True)) as progress:
            measured = rows(options.checkpoints, options.source, documents, progress)
    except (CheckpointError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")
    table = Table("checkpoint", title=f"{len(held_out)} held-out files", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for row in measured:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)).print(table)


if __name__ == "__main__":
    main()
