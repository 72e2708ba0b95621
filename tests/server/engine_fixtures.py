"""An engine over a tiny random model, and readers of what it says."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from pararnn_server.access.owner import Owner
from pararnn_server.engine.engine import Engine
from pararnn_server.engine.request import Failed, Finished, Output, PromptLogprobs, Request, Started, Tokens
from pararnn_server.engine.running import Running
from pararnn_server.engine.settings import EngineSettings
from pararnn_server.engine.token_mask import TokenMask
from pararnn_server.engine.worker import Worker
from pararnn_server.errors import Conflict
from pararnn_server.sessions.model_kind import model_kind
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.text.vocabulary import Vocabulary

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.state_layout import state_parts
from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.sampler import SampleRow, sample
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState, StateSnapshot
from tests.fixtures import tiny_model
from tests.server.metrics_fixtures import new_metrics
from tests.server.session_fixtures import Sessions, build_sessions

VOCAB_SIZE = 265
LETTERS = b"abc"


def letter_bytes(token_id: int) -> bytes:
    """Ids 0 to 255 are single bytes; a few short words, so that stop strings really come up."""
    if token_id < 256:
        return bytes([token_id])
    return [b"ab", b"bc", b"ca", b"abc", b"aab", b"", b"", b"", b""][token_id - 256]


TOKEN_BYTES: tuple[bytes, ...] = tuple(letter_bytes(token_id) for token_id in range(VOCAB_SIZE))
SPECIAL_IDS = {"<a>": 261, "<b>": 262}
SPELLINGS = {token_id: name for name, token_id in SPECIAL_IDS.items()}
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

    def __init__(
        self, served: ParaRNNForCausalLM | None = None, max_sessions: int = 100, **limits: Any
    ) -> None:
        limits.setdefault("poison_freed_slots", True)
        served = served or model()
        self.settings = EngineSettings(**limits)
        self.metrics = new_metrics()
        self.sessions = build_sessions(
            kind=model_kind("tiny", served.config, served.state_parts), threaded=True, metrics=self.metrics
        )
        self.engine = Engine(served, TOKEN_BYTES, SPECIAL_IDS, self.settings, self.sessions, self.metrics)

    def submit(self, prompt: Sequence[int], params: SamplingParams, **over: Any) -> Reader:
        reader = Reader(over.pop("num_choices", 1), hook=over.pop("hook", None))
        expected_turn, idempotency_key = over.pop("expected_turn", None), over.pop("idempotency_key", None)
        request, turn = make_request(reader, prompt, params, **over), None
        if request.session_id is not None:
            turn = self.sessions.begin_turn(
                request.session_id, Owner(request.owner), request.request_id, expected_turn, idempotency_key
            )
        self.engine.submit(request, turn)
        return reader

    def cancel(self, session_id: str) -> SessionInfo:
        """Cancel the running reply as the route does."""
        request_id = self.sessions.running_request(session_id)
        if request_id is not None:
            self.engine.cancel(request_id).result(30)
        return self.sessions.get(session_id)

    def delete(self, session_id: str) -> None:
        """Delete a session as the route does."""
        request_id = self.sessions.delete(session_id)
        if request_id is not None:
            self.engine.fail(request_id, Conflict("deleted"))

    def ask(self, prompt: Sequence[int], params: SamplingParams, **over: Any) -> Reader:
        return self.submit(prompt, params, **over).wait()


@contextmanager
def running(served: ParaRNNForCausalLM | None = None, **limits: Any) -> Iterator[Bench]:
    """Yield a started engine, which is always stopped at the end."""
    bench = Bench(served, **limits)
    bench.engine.start()
    try:
        yield bench
    finally:
        bench.engine.stop(0.0)
        bench.sessions.close()


class Steps:
    """A worker without a thread: the test takes every step."""

    def __init__(self, served: ParaRNNForCausalLM | None = None, **limits: Any) -> None:
        limits.setdefault("poison_freed_slots", True)
        served = served or model()
        settings = EngineSettings(**limits)
        self.queue_timeout = settings.queue_timeout
        self.now = 100.0
        self.ended: list[str] = []
        self.metrics = new_metrics()
        self.sessions = build_sessions(
            kind=model_kind("tiny", served.config, served.state_parts), metrics=self.metrics
        )
        vocabulary = Vocabulary.build(TOKEN_BYTES, VOCAB_SIZE, served.config.eos_token_id, SPECIAL_IDS)
        self.worker = Worker(
            served, vocabulary, settings, self.sessions, self.metrics, self.ended.append, lambda: self.now
        )

    def add(self, prompt: Sequence[int], params: SamplingParams, **over: Any) -> tuple[str, Reader]:
        """spoil: the config of a model whose state the session's turn starts with instead of its own."""
        reader = Reader(over.pop("num_choices", 1), hook=over.pop("hook", None))
        spoil = over.pop("spoil", None)
        request = make_request(reader, prompt, params, **over)
        turn = None
        if request.session_id is not None:
            turn = self.sessions.begin_turn(request.session_id, Owner(request.owner), request.request_id)
        if turn is not None and spoil is not None:
            turn = replace(turn, snapshot=StateSnapshot.empty(state_parts(spoil)))
            self.sessions.ledger.turns[turn.session_id] = turn
        self.worker.add(Running(request, turn, self.now, self.queue_timeout))
        return request.request_id, reader

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += 0.1
            self.worker.step()

    def finish(self, limit: int = 10_000) -> None:
        for _ in range(limit):
            if not self.worker.has_work:
                return
            self.step()
        raise AssertionError(f"still at work after {limit} steps")


def alone(
    served: ParaRNNForCausalLM,
    prompt: Sequence[int],
    params: SamplingParams,
    choice: int = 0,
    token_mask: TokenMask | None = None,
) -> list[int]:
    """The reply by the plainest loop: one slot, one chunk, one id at a time; no stops, no EOS."""
    state = served.new_state(1)
    ids: list[int] = []
    feed = list(prompt)
    mask = None if token_mask is None else token_mask.fork()
    forced: list[int] = []
    while len(ids) < params.max_tokens:
        logits = feed_slot(served, state, feed)
        if mask is not None and not forced:
            forced += mask.forced()
        if forced:
            feed = [forced.pop(0)]
            ids += feed
            continue
        if mask is not None and mask.is_complete:
            break
        words = None if mask is None else words_of(mask)
        row = SampleRow(params, choice, len(ids), Counter(ids), state.seen[0], words)
        feed = [sample(logits, [row])[0].token_id]
        if mask is not None:
            mask.accept(feed[0])
        ids += feed
    return ids


def words_of(mask: TokenMask) -> MaskWords | None:
    """The mask of the next id."""
    [words] = type(mask).allowed_of([mask])
    if isinstance(words, Exception):
        raise words
    return words


def feed_slot(served: ParaRNNForCausalLM, state: RecurrentState, token_ids: Sequence[int]) -> torch.Tensor:
    """Slot 0 moves on; logits (1, V) of the last id."""
    tokens = torch.tensor(list(token_ids), dtype=torch.int32)
    bounds = torch.tensor([0, len(tokens)], dtype=torch.int32)
    return served.step(tokens, bounds, torch.zeros(1, dtype=torch.int32), state)


def assert_session_is_whole(
    sessions: Sessions, session_id: str, served: ParaRNNForCausalLM, tolerance: float = 0.0
) -> None:
    """The committed state is that of a model fed the session's ids, all but the pending ones: bit for bit, or
    within a tolerance.
    """
    stored = sessions.stored(session_id)
    token_ids = stored.token_ids.tolist()
    assert stored.record.num_tokens == len(token_ids)
    num_fed = len(token_ids) - len(stored.pending_ids)
    assert token_ids[num_fed:] == list(stored.pending_ids)
    state = served.new_state(1)
    if num_fed:
        feed_slot(served, state, token_ids[:num_fed])
    expected = state.snapshot(0)
    if not tolerance:
        assert stored.snapshot == expected
    for name, part in stored.snapshot.views().items():
        torch.testing.assert_close(part, expected.views()[name], rtol=0, atol=tolerance)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.001)
