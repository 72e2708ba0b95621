"""Quantisation of a published model to int8 and int4: `python -m checkpoints.quantize_shipped FOLDER`.

The repository contains one result, COMMITTED, without the model it was made of. Each takes a minute or two.
Calibration reads training files; the measurement reads held-out ones. Another machine may round a few weights
differently, because it adds products in another order.
"""

import argparse
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from checkpoints.baselines import num_bytes
from checkpoints.corpus import Document, load_documents, split_documents
from checkpoints.evaluate import ended_documents
from checkpoints.token_data import encode_training
from pararnn_core.checkpoint import CheckpointError
from pararnn_core.quantize import Text, quantize_checkpoint
from pararnn_core.quantize.quantize_card import Quantized
from pararnn_core.training.card import CURVE_FILE
from pararnn_core.training.tokenizer import load_tokenizer

MODEL = "paragru-5m-stdlib"
BITS = (8, 4)
# With 8 bits, groups of 128 would cost a ParaLSTM of this size 0.10 % of perplexity, the whole allowance.
GROUP_SIZES = {8: 64, 4: 32}


def quantized_name(name: str, bits: int) -> str:
    """Return the name of a model's version with this number of bits."""
    return f"{name}-int{bits}"


COMMITTED = quantized_name(MODEL, 8)
"""Checkpoint that is served by default and is part of the wheel."""
RUNS = Path(__file__).parents[1] / "runs"
PUBLISHED, MADE = RUNS / MODEL, RUNS / "quantised"


def quantize_shipped(source: Path, target: Path, bits: int, documents: Sequence[Document]) -> Quantized:
    """Quantise a model with documents of the corpus. Raises CheckpointError."""
    training, held_out = split_documents(documents)
    tokenizer = load_tokenizer(source)
    calibration = Text(
        [ids.tolist() for ids in encode_training(tokenizer, training)],
        f"{len(training)} training files (Python {platform.python_version()}'s library) and their chats",
    )
    evaluation = Text(
        [ids.tolist() for ids in ended_documents(tokenizer, held_out)],
        f"{len(held_out)} held-out files of that library ({num_bytes(held_out):,} bytes)",
    )
    made = quantize_checkpoint(source, target, bits, GROUP_SIZES[bits], calibration, evaluation)
    shutil.copy(source / CURVE_FILE, target)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Quantise a published model.")
    parser.add_argument(
        "source", type=Path, nargs="?", default=PUBLISHED, help="of checkpoints.publish; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=MADE, help="folder to write to; default: %(default)s")
    parser.add_argument("--bits", type=int, choices=BITS, nargs="+", default=BITS, help="default: both")
    options = parser.parse_args(arguments)
    documents = load_documents()
    for bits in options.bits:
        target = options.out / quantized_name(options.source.name, bits)
        try:
            made = quantize_shipped(options.source, target, bits, documents)
        except (CheckpointError, FileNotFoundError) as error:
            parser.exit(1, f"{error}\n")
        increase = "" if made.quality is None else f", perplexity {100 * made.quality.increase:+.3f} %"
        print(f"{target}: {made.bits_per_weight:.2f} bits per weight of a matrix{increase}", flush=True)


if __name__ == "__main__":
    main()
