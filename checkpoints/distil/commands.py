"""The subcommands; each takes the parsed options."""

from __future__ import annotations

import argparse
import datetime
import json
import signal
from pathlib import Path

import torch
from pararnn_server.bench.machine import Machine

from checkpoints.distil import background
from checkpoints.distil.card_figures import DECODER_LENGTH, card_figures, measure
from checkpoints.distil.curve import save_curve
from checkpoints.distil.evaluate import held_out_replies, markdown_table, reply_figures, text_figures
from checkpoints.distil.mixers_file import Mixers, read_mixers, write_mixers
from checkpoints.distil.places import training_folder
from checkpoints.distil.prepare import prepared_learner, prepared_streams, prepared_trainer
from checkpoints.distil.prompts import held_out_prompts
from checkpoints.distil.recipe import STAGES, Changes, Recipe
from checkpoints.distil.replies import Decoder
from checkpoints.distil.run_folder import read_curve, read_state, tokens_of
from checkpoints.distil.student import mixer_parameters
from checkpoints.distil.student_decoder import StudentDecoder
from checkpoints.distil.teacher import Importance, Teacher
from checkpoints.distil.teacher_decoder import TeacherDecoder
from checkpoints.distil.teacher_weights import read_tokenizer, read_weights
from checkpoints.distil.teacher_wheel import teacher_file
from checkpoints.distil.text.teacher_replies import replies_file, write_batch
from pararnn_core import ops

COMMAND = "python -m checkpoints.distil figures INT4 INT8 BF16"
STAGE_OPTIONS = {"tokens": "tokens", "rate": "learning_rate"}
"""Fields of a stage by their option on the command line."""


def use_threads(count: int) -> None:
    """Set the number of threads of torch's products and of the native kernels."""
    torch.set_num_threads(count)
    ops.set_num_threads(count)


def stage_options(options: argparse.Namespace) -> list[tuple[str, str, float]]:
    """Return (stage, option, value) of the given options."""
    asked = [(stage, option) for stage in STAGES for option in STAGE_OPTIONS]
    values = [(stage, option, getattr(options, f"{stage}_{option}")) for stage, option in asked]
    return [(stage, option, value) for stage, option, value in values if value is not None]


def recipe_changes(options: argparse.Namespace) -> Changes:
    """Return the changes by stage and field of the recipe."""
    changes: dict[str, dict[str, float]] = {}
    for stage, option, value in stage_options(options):
        changes.setdefault(stage, {})[STAGE_OPTIONS[option]] = value
    return changes


def run_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the cell's run."""
    return training_folder() / str(options.cell)


def prepare(_: argparse.Namespace) -> None:
    """Prepare the text and print its number of tokens."""
    folder = training_folder()
    print(teacher_file(folder))
    for name, stream in prepared_streams(folder).items():
        print(f"{name}: {len(stream.ids):,} tokens in {len(stream.starts):,} documents")


def train(options: argparse.Namespace) -> None:
    """Train until the end, or until SIGTERM or SIGINT, which save and end."""
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stops.append(received))
    use_threads(options.threads)
    trainer = prepared_trainer(options.cell, recipe_changes(options), training_folder(), options.rounded)
    print(f"{trainer.folder.path}: continues at {trainer.tokens:,} tokens", flush=True)
    trainer.run(lambda: bool(stops))
    print(f"{trainer.folder.path}: saved at {trainer.tokens:,} tokens", flush=True)


def start(options: argparse.Namespace) -> None:
    """Start training in the background and print the process's number."""
    folder = run_folder(options)
    running = background.running_process(folder)
    if running is not None:
        print(f"process {running} trains already; its log is {folder / 'train.log'}")
        return
    given = [f"--{stage}-{option}={value}" for stage, option, value in stage_options(options)]
    given += ["--rounded"] * options.rounded
    process = background.start(folder, [f"--cell={options.cell}", f"--threads={options.threads}", *given])
    print(f"process {process} trains; its log is {folder / 'train.log'}")


def stop(options: argparse.Namespace) -> None:
    """Stop training and return when the run is saved."""
    print("saved and ended" if background.stop(run_folder(options)) else "nothing was running")


def status(options: argparse.Namespace) -> None:
    """Print the status of a run, also during training."""
    folder = run_folder(options)
    running = background.running_process(folder)
    print(f"process {running} trains in {folder}" if running else f"nothing trains in {folder}")
    for row in read_curve(folder / "curve.jsonl")[-1:]:
        print(row)


def replies(options: argparse.Namespace) -> None:
    """Append replies of the teacher until it has written the given number of tokens."""
    use_threads(options.threads)
    folder = training_folder()
    file = teacher_file(folder)
    teacher, tokenizer = Teacher(read_weights(file)), read_tokenizer(file)
    written = 0
    while written < options.tokens:
        written += write_batch(teacher, tokenizer, replies_file(folder))
        print(f"{replies_file(folder)}: {written:,} more tokens", flush=True)


def curve(options: argparse.Namespace) -> None:
    """Write the picture of the curve."""
    save_curve(read_curve(run_folder(options) / "curve.jsonl"), options.out)


def export(options: argparse.Namespace) -> None:
    """Export the averaged weights."""
    mixers = saved_mixers(options)
    write_mixers(mixers, options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, {mixers.tokens:,} tokens seen")


def evaluate(options: argparse.Namespace) -> None:
    """Print a table of figures, and all replies with --replies."""
    use_threads(options.threads)
    folder = training_folder()
    mixers = saved_mixers(options)
    learner, tokenizer = prepared_learner(mixers.recipe.cell, folder), read_tokenizer(teacher_file(folder))
    with torch.no_grad():
        for name, parameter in mixer_parameters(learner.model):
            parameter.copy_(mixers.weights[name])
    text = text_figures(learner, prepared_streams(folder))
    prompts = held_out_prompts()[:: options.every]
    decoders: dict[str, Decoder] = {
        "student": StudentDecoder(learner.model),
        "teacher": TeacherDecoder(learner.teacher, DECODER_LENGTH),
    }
    made = {name: held_out_replies(decoder, tokenizer, prompts) for name, decoder in decoders.items()}
    figures = {name: reply_figures(some, tokenizer, prompts) for name, some in made.items()}
    print(markdown_table(mixers.tokens, text, figures))
    for place, one in enumerate(prompts if options.replies else ()):
        print(f"\n> {one.prompt}")
        for name, some in made.items():
            print(f"{name}: {tokenizer.decode(some[place].tokens)}")


def figures(options: argparse.Namespace) -> None:
    """Measure assembled checkpoints beside the teacher and write the figures of their card."""
    use_threads(options.threads)
    folder = training_folder()
    file = teacher_file(folder)
    teacher, tokenizer, streams = Teacher(read_weights(file)), read_tokenizer(file), prepared_streams(folder)
    machine = Machine.here()
    about = f"Measured on {machine.cpu}, {options.threads} threads, {datetime.date.today()}: `{COMMAND}`."
    card = card_figures(measure(options.checkpoints, teacher, tokenizer, streams, about))
    options.out.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(options.out)


def held_out(options: argparse.Namespace) -> None:
    """Write the held-out prose as one text."""
    folder = training_folder()
    ids = prepared_streams(folder)["held_out-prose"].ids.tolist()
    options.out.write_text(read_tokenizer(teacher_file(folder)).decode(ids), encoding="utf-8")
    print(f"{options.out}: {len(ids):,} tokens")


def saved_mixers(options: argparse.Namespace) -> Mixers:
    """Read the given file, else the run's saved state. Raises ValueError if there is none."""
    if options.mixers is not None:
        return read_mixers(options.mixers)
    folder = run_folder(options)
    state = read_state(folder)
    if state is None:
        raise ValueError(f"{folder} holds no saved run: train first, or name a file with --mixers")
    tokens = tokens_of(state)
    rows = [row for row in read_curve(folder / "curve.jsonl") if row["tokens"] <= tokens]
    importance = [Importance(*inputs) for inputs in state.get("importance", ())]
    return Mixers(Recipe.saved(state["recipe"]), tokens, state["average"], rows, importance)
