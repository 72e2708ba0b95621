"""Training of the byte-level BPE tokenizer: python -m checkpoints.build_tokenizer --out runs/tokenizer"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from checkpoints.corpus import load_documents, split_documents
from pararnn_core.training.tokenizer import save_tokenizer, train_tokenizer

VOCAB_SIZE = 4096


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the tokenizer on the training files of the corpus.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--vocab-size", type=int, default=VOCAB_SIZE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    training, _ = split_documents(load_documents())
    save_tokenizer(train_tokenizer((d.text for d in training), options.vocab_size), options.out)
    print(f"{options.out}: {options.vocab_size} tokens from {len(training)} files")


if __name__ == "__main__":
    main()
