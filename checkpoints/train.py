"""Training of a model. Use: python -m checkpoints.train --cell gru --run runs/gru --max-minutes 90"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from checkpoints.build_tokenizer import save_tokenizer, token_id, train_tokenizer
from checkpoints.chat_template import END_OF_TEXT, END_OF_TURN
from checkpoints.corpus import Document, corpus_fingerprint, load_documents, split_documents
from checkpoints.held_out import HeldOutProbe
from checkpoints.run_folder import Row, RunFolder
from checkpoints.schedule import Budget
from checkpoints.token_data import encode_documents, encode_training
from checkpoints.trainer import DivergedError, Recipe, Trainer
from pararnn_core import ops
from pararnn_core.cells import CELLS
from pararnn_core.models.pararnn.config import ModelConfig

SAVE_SECONDS = 180.0
PROBE_SECONDS = 120.0


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, whose defaults are those of the shipped models."""
    parser = argparse.ArgumentParser(description="Train a model on the standard library's sources.")
    parser.add_argument("--cell", choices=tuple(CELLS), required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: log, state, tokenizer")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--max-steps", type=int, help="end after so many steps (reproducible)")
    parser.add_argument("--max-minutes", type=float, help="end after so many minutes in all")
    parser.add_argument("--hidden-size", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--intermediate-size", type=int, default=640, help="default: %(default)s")
    parser.add_argument("--seq-len", type=int, default=Recipe.seq_len, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=Recipe.batch_size, help="default: %(default)s")
    parser.add_argument(
        "--learning-rate", type=float, default=Recipe.learning_rate, help="peak; default: %(default)s"
    )
    parser.add_argument("--adamw-only", action="store_true", help="AdamW for the matrices too, not Muon")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    return parser


def model_config(options: argparse.Namespace, tokenizer: Tokenizer) -> ModelConfig:
    """Return the config with the tokenizer's vocabulary."""
    return ModelConfig(
        cell=options.cell,
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_heads=4,
        intermediate_size=options.intermediate_size,
        tie_embeddings=True,
        bos_token_id=token_id(tokenizer, END_OF_TEXT),
        eos_token_id=token_id(tokenizer, END_OF_TURN),
    )


def build_trainer(options: argparse.Namespace) -> tuple[Trainer, HeldOutProbe]:
    """Build corpus, tokenizer and model, and write the tokenizer and run.json into the run's folder."""
    folder = RunFolder(options.run, options.resume)
    documents = load_documents()
    training, held_out = split_documents(documents)
    tokenizer = train_tokenizer(document.text for document in training)
    save_tokenizer(tokenizer, options.run / "tokenizer")
    recipe = Recipe(
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        use_muon=not options.adamw_only,
        seed=options.seed,
    )
    trainer = Trainer(model_config(options, tokenizer), recipe, encode_training(tokenizer, training), folder)
    probe = HeldOutProbe(encode_documents(tokenizer, held_out), sum(len(d.text.encode()) for d in held_out))
    write_facts(options, trainer, documents, probe)
    return trainer, probe


def write_facts(
    options: argparse.Namespace, trainer: Trainer, documents: Sequence[Document], probe: HeldOutProbe
) -> None:
    """Write run.json, the facts of the card that are not in the log."""
    facts = {
        "parameters": trainer.model.config.num_parameters,
        "training_tokens": trainer.windows.num_tokens,
        "bits_per_byte_of_a_nat": probe.bits_per_nat_token,
        "corpus_sha256": corpus_fingerprint(documents),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": options.threads,
        "recipe": trainer.recipe.__dict__,
    }
    (options.run / "run.json").write_text(json.dumps(facts, indent=2) + "\n")


class Reporter:
    """A callback after each step. It logs and shows progress; every few minutes it probes and saves."""

    def __init__(self, trainer: Trainer, probe: HeldOutProbe, budget: Budget, bar: Progress) -> None:
        self.trainer, self.probe, self.budget, self.bar = trainer, probe, budget, bar
        self.task = bar.add_task("", total=1.0, loss=float("nan"), rate=0.0, step=trainer.next_step)
        self.saved = self.probed = self.stepped = time.monotonic()

    def __call__(self, row: Row) -> None:
        """Handle the row of a step from Trainer.run."""
        now = time.monotonic()
        rate = self.trainer.tokens_per_step / (now - self.stepped)
        self.stepped = now
        self.bar.update(
            self.task,
            completed=min(1.0, self.budget.progress(int(row["step"]))),
            loss=row["loss"],
            rate=rate,
            step=int(row["step"]),
        )
        if now - self.probed >= PROBE_SECONDS:
            row = {**row, "held_out_bits_per_byte": self.probe.bits_per_byte(self.trainer.model)}
            self.probed = time.monotonic()
        self.trainer.folder.log(row)
        if now - self.saved >= SAVE_SECONDS:
            self.trainer.save(self.budget)
            self.saved = time.monotonic()


def progress_bar() -> Progress:
    """Return a progress bar with step, loss in nats per token, speed, time spent and left."""
    return Progress(
        BarColumn(),
        TextColumn("{task.percentage:>5.1f}%  step {task.fields[step]}  loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[rate]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def train(options: argparse.Namespace) -> None:
    """Train. Raises ValueError, FileExistsError, FileNotFoundError or DivergedError with the reason."""
    torch.set_num_threads(options.threads)
    if ops.is_available():
        ops.set_num_threads(options.threads)
    Budget(options.max_steps, options.max_minutes)
    trainer, probe = build_trainer(options)
    elapsed = trainer.restore() if options.resume else 0.0
    budget = Budget(options.max_steps, options.max_minutes, elapsed)
    with progress_bar() as bar:
        trainer.run(budget, Reporter(trainer, probe, budget, bar))
    trainer.save(budget)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        train(options)
    except (ValueError, FileExistsError, FileNotFoundError, DivergedError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
