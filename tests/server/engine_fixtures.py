"""An engine over a tiny random model, and readers of what it says."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pararnn_core.model import ParaRNNForCausalLM
from pararnn_core.sampling_params import SamplingParams
from pararnn_server.engine import Engine
from pararnn_server.engine_settings import EngineSettings
from pararnn_server.metrics import Metrics
from pararnn_server.request import Failed, Finished, Output, PromptLogprobs, Request, Started, Tokens
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.memory_store import MemoryStore
from pararnn_server.worker import Worker
from tests.fixtures import tiny_model

VOCAB_SIZE = 265
LETTERS = b"abc"


def letter_bytes(token_id: int) -> bytes:
    """Few letters and short words, so that stop strings really come up; ids 0 to 255 stand for single bytes."""
    if token_id < 256:
        return bytes([token_id])
    return [b"ab", b"bc", b"ca", b"abc", b"aab", b"", b"", b"", b""][token_id - 256]


TOKEN_BYTES: tuple[bytes, ...] = tuple(letter_bytes(token_id) for token_id in range(VOCAB_SIZE))
LETTER_IDS = [*LETTERS, *range(256, 262)]
LETTER_BIAS = dict.fromkeys(LETTER_IDS, 60.0)
"""Sampling with this bias and temperature 1 gives text of a, b and c."""


@cache
def model(cell: str = "gru", **over: Any) -> ParaRNNForCausalLM:
    """Read only: shared by tests."""
    return tiny_model(cell, 0, **over)


@dataclass
class Reader:
    """Collects what a request says; `wait` returns when it has ended."""

    num_choices: int = 1
    outputs: list[Output] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    hook: Callable[[Output], None] | None = None

    def __call__(self, output: Output) -> None:
        self.outputs.append(output)
        if self.hook is not None:
            self.hook(output)
        if isinstance(output, Failed) or len(self.finished) == self.num_choices:
            self.ended.set()

    def wait(self, seconds: float = 60.0) -> Reader:
        assert self.ended.wait(seconds), f"no end after {seconds} s: {self.outputs[-3:]}"
        return self

    @property
    def finished(self) -> list[Finished]:
        return [output for output in self.outputs if isinstance(output, Finished)]

    @property
    def failed(self) -> Failed | None:
        return next((output for output in self.outputs if isinstance(output, Failed)), None)

    @property
    def finish(self) -> Finished:
        [finished] = self.finished
        return finished

    @property
    def started(self) -> bool:
        return any(isinstance(output, Started) for output in self.outputs)

    @property
    def prompt_logprobs(self) -> list[Any]:
        return [row for output in self.outputs if isinstance(output, PromptLogprobs) for row in output.rows]

    def events(self, choice: int = 0) -> list[Tokens]:
        return [o for o in self.outputs if isinstance(o, Tokens) and o.choice == choice]

    def ids(self, choice: int = 0) -> list[int]:
        return [token_id for event in self.events(choice) for token_id in event.token_ids]

    def text(self, choice: int = 0) -> bytes:
        return b"".join(event.text_bytes for event in self.events(choice))


_request_numbers = itertools.count()


def make_request(reader: Reader, prompt: Sequence[int], params: SamplingParams, **over: Any) -> Request:
    return Request(
        request_id=over.pop("request_id", f"r{next(_request_numbers)}"),
        prompt_token_ids=prompt,
        params=params,
        emit=reader,
        num_choices=reader.num_choices,
        **over,
    )


def greedy(max_tokens: int = 8, **over: Any) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True, **over)


def random(seed: int, max_tokens: int = 8, **over: Any) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, seed=seed, ignore_eos=True, **over)


class Bench:
    """An engine with what it was built from."""

    def __init__(self, served: ParaRNNForCausalLM | None = None, max_sessions: int = 100, **limits: Any) -> None:
        limits.setdefault("poison_freed_slots", True)
        served = served or model()
        self.settings = EngineSettings(**limits)
        self.store = MemoryStore()
        self.sessions = SessionManager(self.store, served.config, "tiny", max_sessions)
        self.metrics = Metrics()
        self.engine = Engine(served, TOKEN_BYTES, self.settings, self.sessions, self.metrics)

    def submit(self, prompt: Sequence[int], params: SamplingParams, **over: Any) -> Reader:
        reader = Reader(over.pop("num_choices", 1), hook=over.pop("hook", None))
        self.engine.submit(make_request(reader, prompt, params, **over))
        return reader

    def ask(self, prompt: Sequence[int], params: SamplingParams, **over: Any) -> Reader:
        return self.submit(prompt, params, **over).wait()


@contextmanager
def running(served: ParaRNNForCausalLM | None = None, **limits: Any) -> Iterator[Bench]:
    """A started engine, stopped at the end whatever happens."""
    bench = Bench(served, **limits)
    bench.engine.start()
    try:
        yield bench
    finally:
        bench.engine.stop(0.0)
