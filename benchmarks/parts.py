"""The parts of a run: models, servers, a long prompt beside quiet streams, start and memory."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pararnn_server.bench.core import CoreRun
from pararnn_server.bench.measure import Figure, Limits, Plan, measure
from pararnn_server.bench.subject import Subject
from pararnn_server.bench.timing import Repetition, Spread

from benchmarks.conversation import Conversation, converse
from benchmarks.filler_tokenizer import FILLER_CHAT_TEMPLATE, write_filler_tokenizer
from benchmarks.groups import Group
from benchmarks.llama_cpp.peer import LlamaPeer, PeerFailed, llama_peers
from benchmarks.llama_cpp.server import llama_serving
from benchmarks.llama_cpp.sizes import SIZES
from benchmarks.load import Load
from benchmarks.original import CPU_PROBLEMS, OriginalFigure, measure_all
from benchmarks.serving import Pass, ServerNotReady, ServingFigures, pararnn_server, serving
from benchmarks.serving import measure as measure_pass
from benchmarks.sessions import Parked
from benchmarks.sessions import measure as park
from benchmarks.stall import Stall, stall
from pararnn_core.checkpoint import save_checkpoint
from pararnn_core.models.pararnn.state_layout import state_bytes

Progress = Callable[[str], None]

STREAMS = (1, 8, 32)
PROMPT_TOKENS, NEW_TOKENS = 32, 128
LONG_PROMPT_TOKENS, QUIET_STREAMS = 4000, 8
PARKED_SESSIONS, CHAT_TURNS = 10_000, 200
_QUIET_SECONDS = 2.0
_ORIGINAL_SECONDS = 60.0
_FOREVER = 100_000
_SETTLED_SLOTS = 64


@dataclass(frozen=True)
class Setting:
    """llama_python, llama_server: how to run the peer, empty if it is not installed.

    original: a checkout of the original's code, None if there is none.
    """

    threads: int
    rounds: int
    scale: float
    llama_python: str
    llama_server: str
    llama_models: Path
    original: Path | None = None


@dataclass(frozen=True)
class Served:
    """A server's figures; stalls: one of each repetition.

    alone: tokens/s of the model without a server on the work of the most streams, None for a peer.
    """

    label: str
    is_peer: bool
    loads: list[ServingFigures]
    stalls: list[Stall] = field(default_factory=list)
    alone: Spread | None = None


@dataclass(frozen=True)
class Start:
    """A server's start from a warm file cache: seconds until its first answer, and bytes after it."""

    label: str
    weight_bytes: int
    session_bytes: int
    ready_seconds: float
    first_token_seconds: float
    resident_bytes: int


@dataclass
class Found:
    """All figures of a run so far. conversations: by the model's label; notes: reasons for absent figures."""

    figures: list[Figure] = field(default_factory=list)
    limits: list[Limits] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    conversations: list[tuple[str, Conversation]] = field(default_factory=list)
    original: list[OriginalFigure] = field(default_factory=list)
    peer_versions: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def measure_group(group: Group, setting: Setting, with_peers: bool, found: Found, progress: Progress) -> None:
    """Measure a group's models and peers in one interleaved run, without the peers if they fail."""
    plan = Plan(group.prefills, group.batches, setting.rounds, group.seconds * setting.scale)
    models = group.peers if with_peers and setting.llama_python else ()
    progress("peers: writing and loading their models" if models else "loading")
    with llama_peers(models, setting.llama_python, setting.llama_models, setting.threads) as (peers, notes):
        found.notes += notes
        try:
            measured = measure(group.subjects, plan, progress, peers)
        except PeerFailed as error:
            found.notes.append(f"{group.name} without its peers: {error}")
            measured = measure(group.subjects, plan, progress)
        found.peer_versions |= {peer.version for peer in peers}
    found.figures += measured.figures
    found.limits.append(measured.limits)


def measure_servers(
    subject: Subject, setting: Setting, with_peers: bool, found: Found, progress: Progress
) -> None:
    """Measure `pararnn serve` and, for the 130m models, llama-server, in alternating passes."""
    vocab_size = subject.config.vocab_size
    with contextlib.ExitStack() as stack:
        progress("starting the server")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = checkpoint_of(subject, folder)
        servers = [(subject.label, False, stack.enter_context(serving(path, setting.threads)), vocab_size)]
        if with_peers:
            servers += _peer_servers(setting, found, stack, progress)
        alone, taken_alone = _alone(subject), list[float]()
        passes: dict[str, dict[int, list[Pass]]] = {each[0]: {n: [] for n in STREAMS} for each in servers}
        stalls: dict[str, list[Stall]] = {each[0]: [] for each in servers}
        end = time.monotonic() + _SERVING_SECONDS * setting.scale
        for turn in range(setting.rounds + 1):
            if turn > 1 and time.monotonic() > end:
                break
            for label, _, port, vocab in servers:
                for streams in STREAMS:
                    progress(f"{label}, {streams} streams: {turn} of {setting.rounds}")
                    load = Load(streams, PROMPT_TOKENS, NEW_TOKENS, vocab)
                    passes[label][streams].append(measure_pass(port, load, seed=turn))
                if turn:
                    progress(f"{label}, a long prompt: {turn} of {setting.rounds}")
                    stalls[label].append(_stall(port, vocab, turn))
            progress(f"{subject.label} without a server: {turn} of {setting.rounds}")
            taken_alone.append(alone())
        # The first pass warms up.
        rate = Spread.of(taken_alone[1:] or taken_alone).map(lambda taken: STREAMS[-1] * NEW_TOKENS / taken)
        for label, is_peer, *_ in servers:
            loads = [ServingFigures.of(n, each[1:] or each) for n, each in passes[label].items()]
            found.served.append(Served(label, is_peer, loads, stalls[label], None if is_peer else rate))


_SERVING_SECONDS = 150.0


def _alone(subject: Subject) -> Repetition:
    """Return a repetition of the work of the most streams, by the model alone."""
    return CoreRun(subject.load(), STREAMS[-1]).generate(STREAMS[-1], PROMPT_TOKENS, NEW_TOKENS)


def _peer_servers(
    setting: Setting, found: Found, stack: contextlib.ExitStack, progress: Progress
) -> Iterator[tuple[str, bool, int, int]]:
    for size in SIZES:
        if size.beside != "130m" or not setting.llama_server or not setting.llama_python:
            continue
        try:
            progress(f"starting llama-server for {size.name}")
            peer = LlamaPeer(size, "q8_0", setting.llama_python, setting.llama_models, setting.threads)
            peer.close()
            port = stack.enter_context(
                llama_serving(setting.llama_server, peer.path, setting.threads, max(STREAMS) + 1)
            )
        except (PeerFailed, ServerNotReady, OSError) as error:
            found.notes.append(f"llama-server, {size.name}: {str(error).strip()[-200:]}")
            continue
        yield f"llama-server {size.name} q8_0", True, port, size.vocab_size


def _stall(port: int, vocab_size: int, turn: int) -> Stall:
    streams = Load(QUIET_STREAMS, PROMPT_TOKENS, _FOREVER, vocab_size)
    prompt = Load(1, LONG_PROMPT_TOKENS, 1, vocab_size)
    return asyncio.run(stall(port, streams, prompt, _QUIET_SECONDS, 2 * turn))


def measure_start(subject: Subject, setting: Setting, found: Found, progress: Progress) -> None:
    """Measure a server's start and memory, with its file in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        progress("writing the checkpoint")
        path = checkpoint_of(subject, Path(folder))
        starts = []
        load = Load(1, 1, 1, subject.config.vocab_size)
        for turn in range(setting.rounds):
            progress(f"starting the server: {turn + 1} of {setting.rounds}")
            with pararnn_server(path, setting.threads) as server:
                first = measure_pass(server.port, load, seed=turn).ttft_p50
                starts.append((server.ready_seconds, first, server.resident_bytes))
        stored = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    found.starts.append(
        Start(
            label=subject.label,
            weight_bytes=stored,
            session_bytes=_SETTLED_SLOTS * state_bytes(subject.config),
            ready_seconds=statistics.median(each[0] for each in starts),
            first_token_seconds=statistics.median(each[1] for each in starts),
            resident_bytes=max(each[2] for each in starts),
        )
    )


def measure_parked(setting: Setting, found: Found, progress: Progress) -> None:
    """Measure many waiting sessions of the 130m preset."""
    count = max(100, int(PARKED_SESSIONS * setting.scale))
    progress(f"{count:,} sessions")
    with tempfile.TemporaryDirectory() as folder:
        found.parked.append(park(count, Path(folder)))


def measure_original(setting: Setting, found: Found, progress: Progress) -> None:
    """Measure the original's cells in PyTorch beside ours, at equal accuracy."""
    if setting.original is None:
        return
    progress("its cells beside ours")
    end = time.monotonic() + _ORIGINAL_SECONDS * setting.scale
    figures, notes = measure_all(
        setting.original, torch.device("cpu"), CPU_PROBLEMS, setting.rounds, lambda: end - time.monotonic()
    )
    found.original += figures
    found.notes += notes


def measure_conversations(subject: Subject, setting: Setting, found: Found, progress: Progress) -> None:
    """Measure a long chat."""
    turns = max(20, int(CHAT_TURNS * min(1.0, setting.scale)))
    progress(f"{turns} turns")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(checkpoint_of(subject, Path(folder), chat=True), setting.threads) as port,
    ):
        found.conversations += [(subject.label, each) for each in converse(port, turns)]


def checkpoint_of(subject: Subject, folder: Path, *, chat: bool = False) -> Path:
    """Return the model's directory. A random model is saved in the folder, with a chat template if `chat`."""
    if subject.path is not None:
        return subject.path
    tokenizer = write_filler_tokenizer(folder / "tokenizer.json", subject.config.vocab_size, chat=chat)
    path = folder / subject.label.replace(" ", "-")
    template = FILLER_CHAT_TEMPLATE if chat else None
    save_checkpoint(subject.load(pack=False), path, tokenizer=tokenizer, chat_template=template)
    return path
