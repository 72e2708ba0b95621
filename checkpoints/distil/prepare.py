"""Preparation of a run: teacher, text as token ids, student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from pararnn_server.fetch.chat_models import mixers_name
from torch import Tensor

from checkpoints.distil.layers import PLAIN, compiled_layers
from checkpoints.distil.learner import Learner
from checkpoints.distil.lstm_start import start_from_gru
from checkpoints.distil.mixers_file import Mixers, read_mixers
from checkpoints.distil.recipe import Changes, Recipe
from checkpoints.distil.run_folder import RunFolder, State, read_state, tokens_of
from checkpoints.distil.student import new_student
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.teacher_weights import read_tokenizer, read_weights
from checkpoints.distil.teacher_wheel import teacher_file
from checkpoints.distil.text.sources import all_documents
from checkpoints.distil.text.teacher_replies import replies_file
from checkpoints.distil.token_streams import KINDS, Streams, encode_streams, load_streams, save_streams
from checkpoints.distil.trainer import Trainer
from checkpoints.distil.windows import SHORT, Batch, TrainingBatches, Windows, batch_of
from pararnn_core.training.forward import has_compiler

PROBE_WINDOWS = 12
COMMITTED = Path(__file__).parent


def text_version(folder: Path) -> str:
    """Return a hash of the files that make the text and of the size of the teacher's replies."""
    made = replies_file(folder)
    digest = hashlib.sha256(str(made.stat().st_size if made.exists() else 0).encode())
    for file in sorted((Path(__file__).parent / "text").rglob("*")):
        if file.suffix in (".py", ".txt"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def prepared_streams(folder: Path) -> Streams:
    """Return the tokenised text, made once for each version of the code that writes it."""
    file = folder / "text" / f"{text_version(folder)}.npz"
    if not file.exists():
        save_streams(encode_streams(all_documents(folder), read_tokenizer(teacher_file(folder))), file)
    return load_streams(file)


def held_out_probes(streams: Streams) -> dict[str, Batch]:
    """Return a few windows of chat and of prose, the same in every measurement."""
    return {
        kind: batch_of(Windows(streams[f"held_out-{kind}"], SHORT, seed=0).rows(0, PROBE_WINDOWS))
        for kind in KINDS
    }


def prepared_learner(cell: str, folder: Path) -> Learner:
    """Return a student with unfitted mixers and its teacher. Steps are compiled if the machine can."""
    weights = read_weights(teacher_file(folder))
    layers = compiled_layers() if has_compiler() else PLAIN
    return Learner(new_student(weights, cell), Teacher(weights, layers=layers))


def prepared_trainer(cell: str, changes: Changes, folder: Path, rounded: bool = False) -> Trainer:
    """Return a run that continues the folder or the file of mixers, the one with more tokens, or a new run.

    rounded: see Recipe; a run that is rounded once remains so
    Raises BlockingIOError if another process trains there.
    """
    run = RunFolder(folder / cell)
    before = newest(run.load(), committed_mixers(cell))
    recipe = continued_recipe(before, cell, changes)
    recipe = replace(recipe, rounded=recipe.rounded or rounded)
    torch.manual_seed(recipe.seed)
    streams = prepared_streams(folder)
    learner = prepared_learner(cell, folder)
    batches = TrainingBatches(streams, recipe.tokens_per_step, recipe.seed)
    if before is None:
        begin(learner, batches.batch(0).inputs, trained_gru(folder) if cell == "lstm" else None)
    trainer = Trainer(recipe, learner, batches, held_out_probes(streams), run)
    continue_from(trainer, before)
    return trainer


def begin(learner: Learner, tokens: Tensor, gru: Mapping[str, Tensor] | None) -> None:
    """Set the first weights of a run. gru: trained mixers that a ParaLSTM begins with."""
    if gru is not None:
        start_from_gru(learner.model, gru)
    learner.start(tokens, gates=gru is None)


def trained_gru(folder: Path) -> Mapping[str, Tensor] | None:
    """Return the averaged mixers of the ParaGRU with the most tokens; None if there is none."""
    found = newest(read_state(folder / "gru"), committed_mixers("gru"))
    weights: Mapping[str, Tensor] | None
    weights = found.weights if isinstance(found, Mixers) else found and found["average"]
    return weights


def newest(state: State | None, shipped: Mixers | None) -> State | Mixers | None:
    """Return the one with more tokens."""
    if state is None or shipped is None:
        return state or shipped
    return shipped if shipped.tokens > tokens_of(state) else state


def continued_recipe(before: State | Mixers | None, cell: str, changes: Changes) -> Recipe:
    """Return the recipe that the run began with, with the changes."""
    if before is None:
        return Recipe(cell=cell).changed(changes)
    if isinstance(before, Mixers):
        return before.recipe.changed(changes, before.tokens)
    return Recipe.saved(before["recipe"]).changed(changes, tokens_of(before))


def continue_from(trainer: Trainer, before: State | Mixers | None) -> None:
    """Load the state or the mixers into the trainer."""
    if isinstance(before, Mixers):
        trainer.begin_from(before.weights, before.tokens, before.importance)
        trainer.folder.begin_curve(before.curve)
    elif before is not None:
        trainer.restore(before)


def committed_mixers(cell: str, folder: Path = COMMITTED) -> Mixers | None:
    """Read the repository's file of an earlier run; None if there is none."""
    file = folder / mixers_name(cell)
    return read_mixers(file) if file.exists() else None
