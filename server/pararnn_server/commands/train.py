"""`pararnn train`: text becomes a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from pararnn_core import ops
from pararnn_core.cells import CELLS
from pararnn_core.checkpoint.checkpoint_writer import check_replaceable
from pararnn_core.ops.devices import usable_device
from pararnn_core.training.finish import finish, has_curves
from pararnn_core.training.forward import fastest_products, has_compiler
from pararnn_core.training.plan import SIZES, Plan
from pararnn_core.training.prepare import prepare, prepared
from pararnn_core.training.run import Run, use_threads
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.text_files import TextError
from pararnn_core.training.trainer import DivergedError, Recipe
from pararnn_server.commands.assignments import assignment
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_option
from pararnn_server.commands.progress import StageProgress
from pararnn_server.commands.stop_signals import StopSignals
from pararnn_server.commands.training_progress import training_progress
from pararnn_server.metrics.units import as_count

# Options that a resumed run may set anew.
_FREE = frozenset({"out", "resume"})
_MOST = 1 << 20


@one_line_errors(TextError, DivergedError, FileExistsError, BlockingIOError)
def train(
    context: typer.Context,
    out: Annotated[Path, path_option("Checkpoint to write; an older one there is replaced.", "--out")],
    text: Annotated[
        str | None, option("Text to learn: a file, or a folder whose text files are taken.", metavar="PATH")
    ] = None,
    encoding: Annotated[str, option("Encoding of the text.")] = "utf-8",
    tokenizer: Annotated[
        str | None,
        option(
            "A tokenizer.json, a folder that holds one, or bytes; default: one is trained.", metavar="PATH"
        ),
    ] = None,
    vocab_size: Annotated[
        int | None, option("Tokens of a trained tokenizer; default: that of the size.", min=261, max=_MOST)
    ] = None,
    size: Annotated[str, option(f"Size of the model: {' '.join(SIZES)}.")] = "5m",
    cell: Annotated[str, option(f"Cell of the model: {' '.join(CELLS)}.")] = "gru",
    set_: Annotated[
        list[str] | None,
        option(
            "Field of the configuration, such as hidden_size=320.", "--set", env="SET", metavar="FIELD=VALUE"
        ),
    ] = None,
    steps: Annotated[int | None, option("End after this many steps.", min=1)] = None,
    minutes: Annotated[float | None, option("End after this many minutes in all.", min=0.01)] = None,
    epochs: Annotated[
        float | None,
        option("End after so many passes over the text; default: 1 if nothing else ends it.", min=0.001),
    ] = None,
    sequence_length: Annotated[int, option("Tokens of a sequence.", min=2, max=_MOST)] = Recipe.seq_len,
    batch_size: Annotated[int, option("Sequences computed at once.", min=1, max=_MOST)] = Recipe.batch_size,
    accumulate: Annotated[
        int, option("Batches whose gradients make one step.", min=1, max=_MOST)
    ] = Recipe.accumulate,
    learning_rate: Annotated[float, option("Highest learning rate.", min=1e-9)] = Recipe.learning_rate,
    muon: Annotated[bool, option("Muon for the matrices; else AdamW for all.")] = Recipe.use_muon,
    seed: Annotated[int, option("Seed of weights and order.", min=0)] = Recipe.seed,
    device: Annotated[str, option("cpu or cuda.")] = "cpu",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        option("Type of matrix products; auto takes the faster one.", metavar="[auto|float32|bfloat16]"),
    ] = "auto",
    compile_: Annotated[
        bool,
        option("Compile the layers, if there is a C++ compiler.", "--compile/--no-compile", env="COMPILE"),
    ] = True,
    threads: Annotated[int, option("Threads; 0 means one per core.", min=0, max=1024)] = 0,
    resume: Annotated[bool, option("Continue a run that was stopped.", "--resume")] = False,
) -> None:
    """Train a model on text, from the files to a checkpoint that `serve` serves.

    About a twentieth of the text is held out and measured. What is needed to continue is kept beside --out
    in a folder that ends in .run, and deleted at the end. Ctrl-C saves; --resume continues.
    """
    check_replaceable(out.resolve())
    home = out.resolve().with_name(out.resolve().name + ".run")
    given = _given(context)
    if not resume and text is None:
        raise CommandFailed("--text: name a file or a folder")
    if resume:
        folder = _opened(home, resume=True)
        _check_options(given, prepared(folder).plan.options)
    else:
        count = threads or ops.num_threads()
        usable_device(device)
        use_threads(count)
        recipe = Recipe(
            seq_len=sequence_length,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=learning_rate,
            use_muon=muon,
            seed=seed,
            products=_products(dtype, device),
            compiled=compile_ and device == "cpu" and has_compiler(),
        )
        plan = Plan(
            text=str(Path(str(text)).expanduser()),
            encoding=encoding,
            tokenizer=tokenizer,
            vocab_size=vocab_size,
            size=_named("--size", size, SIZES),
            cell=_named("--cell", cell, CELLS),
            overrides=dict(assignment(each) for each in set_ or []),
            steps=steps,
            minutes=minutes,
            epochs=epochs,
            device=device,
            threads=count,
            recipe=recipe,
            options=given,
        )
        folder = _prepared_folder(plan, home)
    _train(folder, out)


def _products(dtype: str, device: str) -> str:
    if dtype != "auto":
        return dtype
    return str(fastest_products(torch.device(device))).removeprefix("torch.")


def _named(name: str, value: str, known: Mapping[str, Any]) -> str:
    if value not in known:
        raise CommandFailed(f"{name} {value!r}: use one of {', '.join(known)}")
    return value


def _given(context: typer.Context) -> dict[str, str]:
    """Return the options of this command line, as text."""
    return {
        name: str(value)
        for name, value in context.params.items()
        if name not in _FREE and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def _check_options(given: Mapping[str, str], begun: Mapping[str, str]) -> None:
    for name, value in given.items():
        if begun.get(name) != value:
            said = f"was begun with {begun[name]}" if name in begun else "was begun without it"
            label = name.rstrip("_").replace("_", "-")
            raise CommandFailed(f"--{label} {value}: this run {said}; leave it out to continue the run")


def _opened(home: Path, *, resume: bool) -> RunFolder:
    try:
        return RunFolder(home, resume)
    except FileNotFoundError as error:
        raise CommandFailed(f"{error}; begin without --resume") from None


def _prepared_folder(plan: Plan, home: Path) -> RunFolder:
    try:
        plan.check()
        folder = _opened(home, resume=False)
        try:
            with StageProgress() as progress:
                prepare(plan, folder, progress)
        except BaseException:
            # Nothing is trained yet, so nothing is worth keeping.
            folder.close()
            shutil.rmtree(home, ignore_errors=True)
            raise
    except (ValueError, TypeError) as error:
        raise CommandFailed(str(error)) from None
    return folder


def _train(folder: RunFolder, out: Path) -> None:
    data = prepared(folder)
    try:
        run = Run(data, folder)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    config, recipe = data.config, data.plan.recipe
    typer.echo(
        f"{data.facts['text']}: {len(data.training):,} tokens, {len(data.held_out):,} held out;"
        f" {config.architecture}, {as_count(config.num_parameters)} parameters; products in {recipe.products}"
        f"{', compiled layers' if recipe.compiled else ''}, {data.plan.threads} threads",
        err=True,
    )
    if not has_curves():
        typer.echo("No learning curve: `pip install matplotlib` draws one.", err=True)
    with StopSignals() as stop, training_progress(compiling=recipe.compiled) as show:
        ended = run.train(show, stop)
    if not ended:
        typer.echo(
            f"Saved at step {run.trainer.next_step}. Continue: pararnn train --out {out} --resume", err=True
        )
        raise typer.Exit(130)
    with StageProgress() as progress:
        quality = finish(data, folder, out, progress)
    folder.close()
    shutil.rmtree(folder.path)
    typer.echo(
        f"{out}: held out {quality.bits_per_byte:.3f} bits per byte,"
        f" perplexity {quality.perplexity:.2f} of a token"
    )
    typer.echo(f"Serve it: pararnn serve --checkpoint {out}")
    typer.echo(f"Let it continue text: pararnn chat --raw --checkpoint {out}")
