"""Training of a model. Use: python -m checkpoints.train --cell gru --run runs/gru --max-minutes 90"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pararnn_server.commands.stop_signals import StopSignals
from pararnn_server.commands.training_progress import training_progress

from checkpoints.build_tokenizer import VOCAB_SIZE
from checkpoints.corpus import corpus_fingerprint, load_documents, split_documents
from checkpoints.token_data import Ids, encode_documents, encode_training
from pararnn_core.cells import CELLS
from pararnn_core.training.chat_template import END_OF_TEXT, END_OF_TURN
from pararnn_core.training.plan import Plan
from pararnn_core.training.prepare import TOKENIZER_FOLDER, prepared, write_data
from pararnn_core.training.run import Run
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.tokenizer import save_tokenizer, token_id, train_tokenizer
from pararnn_core.training.trainer import DivergedError, Recipe


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, whose defaults are those of the shipped models."""
    parser = argparse.ArgumentParser(description="Train a model on the standard library's sources.")
    parser.add_argument("--cell", choices=tuple(CELLS), required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: log, state, tokenizer")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--max-steps", type=int, help="end after so many steps (reproducible)")
    parser.add_argument("--max-minutes", type=float, help="end after so many minutes in all")
    parser.add_argument("--seq-len", type=int, default=Recipe.seq_len, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=Recipe.batch_size, help="default: %(default)s")
    parser.add_argument(
        "--learning-rate", type=float, default=Recipe.learning_rate, help="peak; default: %(default)s"
    )
    parser.add_argument("--adamw-only", action="store_true", help="AdamW for the matrices too, not Muon")
    parser.add_argument("--products", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    return parser


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan of the options."""
    recipe = Recipe(
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        use_muon=not options.adamw_only,
        seed=options.seed,
        products=options.products,
        compiled=options.compile,
    )
    return Plan(
        text=f"the standard library of Python {platform.python_version()}",
        vocab_size=VOCAB_SIZE,
        size="5m",
        cell=options.cell,
        steps=options.max_steps,
        minutes=options.max_minutes,
        threads=options.threads,
        recipe=recipe,
    )


def prepare(plan: Plan, folder: RunFolder) -> None:
    """Write the corpus, its chats and the tokenizer into the run's folder."""
    documents = load_documents()
    training, held_out = split_documents(documents)
    tokenizer = train_tokenizer((document.text for document in training), VOCAB_SIZE)
    save_tokenizer(tokenizer, folder.path / TOKENIZER_FOLDER)
    special = [token_id(tokenizer, token) for token in (END_OF_TEXT, END_OF_TURN)]
    config = plan.config(tokenizer.get_vocab_size(), *special)

    def encoded() -> Iterator[tuple[bool, list[int], int]]:
        for ids in _shuffled(encode_training(tokenizer, training), plan.recipe.seed):
            yield False, ids.tolist(), 0
        for document, ids in zip(held_out, encode_documents(tokenizer, held_out), strict=True):
            yield True, ids.tolist(), len(document.text.encode())

    facts = {"text": plan.text, "text_sha256": corpus_fingerprint(documents)}
    write_data(folder, plan, config, encoded(), {**facts, "python": platform.python_version()})


def _shuffled(documents: Sequence[Ids], seed: int) -> Iterator[Ids]:
    """Yield the documents in a random order, in which chats and files are mixed."""
    for index in np.random.default_rng(seed).permutation(len(documents)):
        yield documents[index]


def train(options: argparse.Namespace) -> None:
    """Train. Raises ValueError, FileExistsError, FileNotFoundError or DivergedError with the reason."""
    plan = plan_of(options)
    if plan.steps is None and plan.minutes is None:
        raise ValueError("give --max-steps, --max-minutes or both: a run must end")
    folder = RunFolder(options.run, options.resume)
    if not options.resume:
        prepare(plan, folder)
    data = prepared(folder)
    if data.plan != plan:
        raise ValueError(f"{folder.path} was begun with other settings: {data.plan}")
    run = Run(data, folder)
    with StopSignals() as stop, training_progress(compiling=plan.recipe.compiled) as show:
        run.train(show, stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        train(options)
    except (ValueError, FileExistsError, FileNotFoundError, BlockingIOError, DivergedError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
