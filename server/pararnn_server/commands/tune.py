"""`pararnn tune`: an initial state learns a manner of replying from chats."""

from __future__ import annotations

import hashlib
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from pararnn_core import ops
from pararnn_core.checkpoint import checkpoint_info
from pararnn_core.state import StateSnapshot
from pararnn_core.tuning.chat_loss import Chat
from pararnn_core.tuning.frozen_model import frozen_model, memory_bytes
from pararnn_core.tuning.progress_file import ProgressFileError, read_point, write_point
from pararnn_core.tuning.served_loss import SpanLoss, served_loss
from pararnn_core.tuning.tuner import MICRO_TOKENS, Epoch, NotFinite, TuneOptions, Tuner
from pararnn_server.commands.chat_data import ChatData, ChatEncoder, read_chats
from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import option, path_option, read_settings
from pararnn_server.commands.progress import ByteProgress, StageProgress
from pararnn_server.commands.tune_report import TuneReport
from pararnn_server.metrics.units import as_bytes
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.models.loading import Loaded, load
from pararnn_server.models.startup import kind_of, read_chat_template
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.chat_prompt import ChatPrompts

_SAVE_SECONDS = 10.0
# What a template writes around a system message, at most.
_MESSAGE_IDS = 64
INTERRUPTED = 130


@dataclass(frozen=True)
class _Task:
    """All that a training needs beside the model."""

    kind: ModelKind
    training: list[Chat]
    held_out: list[Chat]
    without: list[SpanLoss]
    system: list[SpanLoss] | None
    system_tokens: float


@one_line_errors(ProgressFileError, NotFinite)
def tune(
    source: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Directory, or a name as `serve` takes; any format.")
    ],
    data: Annotated[
        Path, path_option('Chats, one {"messages": [...]} a line; the assistant\'s text is learned.')
    ],
    out: Annotated[Path, path_option("Session file to write.")],
    epochs: Annotated[int, option("Most passes over the chats.", min=1, max=10000)] = 20,
    rate: Annotated[float, option("Step size of Adam.", min=1e-6, max=10)] = 0.2,
    batch: Annotated[int, option("Chats of one step.", min=1, max=4096)] = 8,
    patience: Annotated[
        int, option("Passes without a better held-out loss after which it stops.", min=1, max=10000)
    ] = 3,
    held_out: Annotated[
        float, option("Share of the chats that is only measured.", min=0.01, max=0.9, metavar="0..1")
    ] = 0.2,
    max_length: Annotated[int, option("Tokens of a chat; what is beyond is cut.", min=8, max=1 << 16)] = 1024,
    system: Annotated[str | None, option("Also measure this system message in place of the state.")] = None,
    seed: Annotated[int, option("Of the order and of the held-out chats.", min=0)] = 0,
    resume: Annotated[bool, option("Continue the training that was interrupted.", "--resume")] = False,
    threads: Annotated[int, option("Threads; 0 means one per core.", min=0, max=1024)] = 0,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        option("Type of the weights while training; auto is float32, bfloat16 takes half the memory."),
    ] = "auto",
    json_file: Annotated[
        Path | None, path_option("Also write all figures to this file.", "--json", env="json")
    ] = None,
) -> None:
    """Train the state that conversations start from, and nothing else.

    The result is a session file without a token: import it, fork it for each user, and the style of the
    chats costs no prompt. It replaces zeros before the first token, so conversations are read as always,
    system message included: send the same one as in the chats, or none if they have none.

    An initial state is strongest at the start of a conversation and fades. The command reports the held-out
    loss at the assistant's tokens 1 to 50, 50 to 200 and 200 to 1,000, with and without it. Held-out chats
    also choose the best pass, so their loss is a little too low.
    """
    settings = read_settings({"checkpoint": source, "device": "cpu", "dtype": "auto", "threads": threads})
    path, began = find_checkpoint(settings, "CHECKPOINT"), time.monotonic()
    held = "float32" if dtype == "auto" else dtype
    options = TuneOptions(epochs, rate, batch, patience, seed, narrow=held == "bfloat16")
    if out.is_dir():
        raise CommandFailed(f"--out {out}: is a folder: name a file in it")
    task = _prepare(settings, data, held_out, max_length, system, seed)
    torch.set_num_threads(threads or ops.num_threads())
    longest = max(MICRO_TOKENS, *(len(chat.ids) for chat in task.training + task.held_out))
    needed = memory_bytes(checkpoint_info(path).config, held, longest)
    _note(f"{len(task.training)} chats, {len(task.held_out)} held out; takes about {as_bytes(needed)}")
    start = _train(path, task, options, held, out, resume=resume)
    _write(out, task.kind, start, data)
    _report(settings, task, start, out, json_file)
    _note(f"{out}: {as_bytes(out.stat().st_size)}, made in {time.monotonic() - began:.0f} s")


def _prepare(
    settings: Settings, data: Path, share: float, max_length: int, system: str | None, seed: int
) -> _Task:
    """Read the chats, and measure the model without a state. The model is gone when this returns."""
    with ByteProgress("loading") as progress:
        loaded = load(settings, progress)
    template = read_chat_template(loaded)
    if template is None:
        raise CommandFailed(
            "the checkpoint has no chat template, in which chats could be rendered: put a chat_template.jinja"
            " beside its config.json"
        )
    if not template.goes_into_sessions:
        raise CommandFailed(
            "the checkpoint's chat template cannot be rendered turn by turn, as sessions need"
        )
    kind, prompts = kind_of(loaded, template), ChatPrompts(loaded.tokenizer, template)
    try:
        found = read_chats(data, _encoder(loaded, prompts), max_length)
        _tell_losses(found)
        training, measured = _parted(found, data, share, seed)
        with_system = None
        if system is not None:
            # Room for the message, so that the same text of the assistant is measured.
            room = max_length + len(loaded.tokenizer.plain_ids(system)) + _MESSAGE_IDS
            changed = read_chats(data, _encoder(loaded, prompts), room, system)
            with_system = _parted(changed, data, share, seed)[1]
    finally:
        prompts.close()
    with StageProgress() as stages:
        without = served_loss(loaded.model, measured, None, lambda *at: stages("measuring", *at))
        after = None if with_system is None else served_loss(loaded.model, with_system, None)
    added = sum(len(chat.ids) for chat in with_system or measured) - sum(len(chat.ids) for chat in measured)
    return _Task(kind, training, measured, without, after, added / len(measured))


def _encoder(loaded: Loaded, prompts: ChatPrompts) -> ChatEncoder:
    eos = loaded.model.config.eos_token_id
    return ChatEncoder(prompts, loaded.tokenizer, (*(() if eos is None else (eos,)), *loaded.stop_token_ids))


def _tell_losses(found: ChatData) -> None:
    for count, what in (
        (found.num_cut, "longer than --max-length: their ends are cut"),
        (found.num_left_out, "left out: nothing of the assistant is within --max-length"),
    ):
        if count:
            _note(f"{count} chats are {what}")
    if found.num_systems:
        _note(f"{found.num_systems} chats begin with a system message: send the same one to the server")


def _parted(found: ChatData, path: Path, share: float, seed: int) -> tuple[list[Chat], list[Chat]]:
    if len(found.chats) < 2:
        raise CommandFailed(f"--data {path}: needs at least 2 chats, better 30, and has {len(found.chats)}")
    chats = list(found.chats)
    random.Random(seed).shuffle(chats)
    count = min(max(1, round(share * len(chats))), len(chats) - 1)
    return chats[count:], chats[:count]


def _train(
    path: Path, task: _Task, options: TuneOptions, dtype: str, out: Path, *, resume: bool
) -> StateSnapshot:
    with ByteProgress("loading for training") as loading:
        model = frozen_model(path, dtype, loading)
    kept, key = out.with_name(f"{out.name}.progress"), _key(task, options)
    with StageProgress() as stages:
        saved = time.monotonic()

        def on_step(done: int, total: int) -> None:
            nonlocal saved
            stages("training", done, total)
            if time.monotonic() - saved > _SAVE_SECONDS:
                write_point(kept, tuner.point, key)
                saved = time.monotonic()

        tuner = Tuner(model, task.training, task.held_out, options, on_step)
        if resume:
            if not kept.exists():
                raise CommandFailed(f"--resume: there is no {kept}: leave --resume out to begin")
            tuner.resume(read_point(kept, key))
        began, first = time.monotonic(), len(tuner.point.history)
        try:
            # Written before the first step: a folder that cannot be written to is found now.
            write_point(kept, tuner.point, key)
            for epoch in tuner.run():
                write_point(kept, tuner.point, key)
                each = (time.monotonic() - began) / max(1, epoch.number - first + 1)
                _tell(epoch, (options.epochs - epoch.number) * each)
        except KeyboardInterrupt:
            write_point(kept, tuner.point, key)
            _note("stopped; the same command with --resume continues here")
            raise typer.Exit(INTERRUPTED) from None
    kept.unlink(missing_ok=True)
    return tuner.start.snapshot()


def _tell(epoch: Epoch, seconds_left: float) -> None:
    if not epoch.number:
        _note(f"before training: held-out loss {epoch.held_out:.4f}")
        return
    best = ", the best" if epoch.is_best else ""
    _note(
        f"pass {epoch.number}: loss {epoch.training:.4f}, held out {epoch.held_out:.4f}{best};"
        f" at most {seconds_left:.0f} s left"
    )


def _key(task: _Task, options: TuneOptions) -> str:
    """Return a name of everything that a resumed training must have in common with the first part."""
    digest = hashlib.sha256(f"{task.kind.fingerprint} {task.kind.chat_template} {options}".encode())
    for chats in (task.training, task.held_out):
        for chat in chats:
            digest.update(len(chat.ids).to_bytes(8, "little") + chat.ids.tobytes() + chat.is_target)
        digest.update(b"held out")
    return digest.hexdigest()


def _write(out: Path, kind: ModelKind, start: StateSnapshot, data: Path) -> None:
    file = StateFile(
        model=kind.name,
        fingerprint=kind.fingerprint,
        tokenizer=kind.tokenizer,
        build=kind.build,
        build_changed=False,
        # A turn without a token: the store keeps the state, and the first request is read whole.
        turn=1,
        num_tokens=0,
        pending_ids=(),
        log_start=0,
        metadata={"tuned_on": data.name[:512]},
        snapshot=start,
        chat_template=kind.chat_template,
    )
    fresh = out.with_name(f".{out.name}.tmp")
    fresh.write_bytes(file.encode())
    fresh.replace(out)


def _report(settings: Settings, task: _Task, start: StateSnapshot, out: Path, json_file: Path | None) -> None:
    # Loaded again: the two forms of the weights are never in memory at once.
    torch.set_num_threads(1)
    with StageProgress() as stages:
        tuned = served_loss(load(settings).model, task.held_out, start, lambda *at: stages("measuring", *at))
    report = TuneReport(len(task.held_out), task.without, tuned, task.system, task.system_tokens)
    for line in report.lines():
        typer.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps({"state": str(out), **report.fields()}, indent=1) + "\n")


def _note(text: str) -> None:
    typer.echo(text, err=True)
