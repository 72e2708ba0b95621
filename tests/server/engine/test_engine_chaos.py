"""Everything at once: submits, aborts, cancels, deletes, timeouts and a failing model, at random."""

import random as random_module
import time
from contextlib import suppress
from typing import Any

import torch
from pararnn_server.engine.request import Failed, Finished
from pararnn_server.errors import ServerError
from pararnn_server.metrics.metrics import PoolStats

from tests.fixtures import tiny_model
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    VOCAB_SIZE,
    Bench,
    Reader,
    assert_session_is_whole,
    model,
    random,
    running,
)

ACTIONS = 250


class Chaos:
    """Random actions on one engine; remembers every reader it was given."""

    def __init__(self, bench: Bench, draw: random_module.Random) -> None:
        self.bench = bench
        self.draw = draw
        self.readers: list[Reader] = []
        self.sessions = [bench.sessions.create().id for _ in range(4)]

    def submit(self) -> None:
        draw = self.draw
        session = draw.choice([None, *self.sessions])
        reader = Reader(1 if session else draw.choice([1, 1, 3]))
        stops = draw.choice([(), ("abca", "cc"), ("bb",)])
        params = random(draw.getrandbits(32), draw.randint(0, 30), logit_bias=LETTER_BIAS, stop=stops)
        prompt = [draw.randrange(VOCAB_SIZE) for _ in range(draw.randint(1, 40))]
        deadline = time.monotonic() + draw.random() * 0.05 if draw.random() < 0.1 else None
        with suppress(ServerError):
            self._submit(reader, prompt, params, session, deadline)

    def _submit(self, reader: Reader, *request: Any) -> None:
        prompt, params, session, deadline = request
        number = len(self.readers)
        reader = self.bench.submit(
            prompt,
            params,
            num_choices=reader.num_choices,
            request_id=f"c{number}",
            session_id=session,
            deadline=deadline,
        )
        self.readers.append(reader)

    def abort(self) -> None:
        self.bench.engine.abort(f"c{self.draw.randrange(len(self.readers) + 1)}")

    def cancel(self) -> None:
        with suppress(ServerError):
            self.bench.cancel(self.draw.choice(self.sessions))

    def replace_session(self) -> None:
        place = self.draw.randrange(len(self.sessions))
        self.bench.delete(self.sessions[place])
        self.sessions[place] = self.bench.sessions.create().id


def test_every_request_ends_once_and_nothing_leaks() -> None:
    seed = random_module.SystemRandom().randrange(2**32)
    print("seed", seed)
    draw = random_module.Random(seed)
    served = tiny_model("gru", 0)
    forward = served.step

    def fail_sometimes(*args: Any, **kwargs: Any) -> torch.Tensor:
        if draw.random() < 0.01:
            raise RuntimeError("injected")
        return forward(*args, **kwargs)

    served.step = fail_sometimes  # type: ignore[method-assign]  # replaced by the test
    with running(served, max_num_seqs=5, max_num_batched_tokens=24, max_queue=10) as bench:
        chaos = Chaos(bench, draw)
        actions = [chaos.submit] * 12 + [chaos.abort] * 3 + [chaos.cancel] * 2 + [chaos.replace_session]
        for _ in range(ACTIONS):
            draw.choice(actions)()
            time.sleep(draw.random() * 0.003)
        for reader in chaos.readers:
            reader.wait()
        bench.engine.call(lambda: None).result(10)
        assert bench.engine.stats() == PoolStats(0, 0, 0, 5, 0)
        for session in chaos.sessions:
            assert bench.sessions.running_request(session) is None
            assert_session_is_whole(bench.sessions, session, model())
    assert len(chaos.readers) > 20
    for reader in chaos.readers:
        finished = [output.choice for output in reader.outputs if isinstance(output, Finished)]
        failures = [output for output in reader.outputs if isinstance(output, Failed)]
        assert len(set(finished)) == len(finished)
        assert len(failures) == 1 or (not failures and len(finished) == reader.num_choices)
        assert isinstance(reader.outputs[-1], Finished | Failed)
