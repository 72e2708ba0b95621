"""Held-out bits per byte of a checkpoint beside the baselines: `python -m checkpoints.evaluate DIR`."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from checkpoints.baselines import (
    byte_ngram_bits_per_byte,
    num_bytes,
    token_ngram_bits_per_byte,
    xz_bits_per_byte,
)
from checkpoints.corpus import Document, load_documents, split_documents
from checkpoints.token_data import encode_documents
from pararnn_core.checkpoint import CheckpointError, load_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.quantize.quality import served_logits
from pararnn_core.training.tokenizer import load_tokenizer

CHUNK = 1024


def document_nats(model: ParaRNNForCausalLM, ids: Tensor) -> float:
    """Return the negative log-likelihood of ids[1:] from a zero state, computed in chunks as in serving."""
    chunks = served_logits(model, ids, CHUNK)
    return sum(float(F.cross_entropy(logits, targets, reduction="sum")) for logits, targets in chunks)


def ended_documents(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[Tensor]:
    """Return ids (T + 1,) of each document, with the end-of-text token at both ends."""
    ids = [torch.from_numpy(each.astype("int64")) for each in encode_documents(tokenizer, documents)]
    return [torch.cat((each, each[:1])) for each in ids]


def model_bits_per_byte(model: ParaRNNForCausalLM, folder: Path, held_out: Sequence[Document]) -> float:
    """Return bits per byte over all held-out files in full, end-of-text tokens included."""
    documents = ended_documents(load_tokenizer(folder), held_out)
    nats = sum(document_nats(model, ids) for ids in track(documents, "held-out files"))
    return nats / math.log(2) / num_bytes(held_out)


def evaluate(folder: Path) -> dict[str, float]:
    """Return bits per byte on the held-out files, of the model and the baselines. Raises CheckpointError."""
    training, held_out = split_documents(load_documents())
    tokenizer = load_tokenizer(folder)
    return {
        "model": model_bits_per_byte(load_checkpoint(folder), folder, held_out),
        "token_5gram": token_ngram_bits_per_byte(tokenizer, training, held_out),
        "xz": xz_bits_per_byte(held_out),
        "byte_5gram": byte_ngram_bits_per_byte(training, held_out),
        "held_out_bytes": num_bytes(held_out),
        "held_out_files": len(held_out),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on the held-out files of the corpus.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args(arguments)
    try:
        figures = evaluate(options.checkpoint)
    except (CheckpointError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")
    for name, value in figures.items():
        print(f"{name:>16}  {value:.4g}" if value < 100 else f"{name:>16}  {value:,.0f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
