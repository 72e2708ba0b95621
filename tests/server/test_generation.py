import asyncio
from typing import cast

import pytest
from pararnn_server.engine import Engine
from pararnn_server.errors import TooManyRequests
from pararnn_server.generation import Generation, Plan
from pararnn_server.outputs import Courier, OutputQueue
from pararnn_server.prompts import EncodedPrompt
from pararnn_server.request import Output, Request
from pararnn_server.sessions.turn import Turn

from pararnn_core.sampling_params import SamplingParams


class FullEngine:
    """Takes two requests."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.running: list[str] = []

    def submit(self, request: Request, turn: Turn | None) -> None:
        if len(self.running) == 2:
            raise self.error
        self.running.append(request.request_id)

    def abort(self, request_id: str) -> None:
        self.running.remove(request_id)


class NoCourier:
    def emitter(self, queue: OutputQueue, prompt: int) -> object:
        def emit(output: Output) -> None: ...

        return emit


@pytest.mark.parametrize("error", [TooManyRequests("full"), ValueError("a fault"), MemoryError()])
def test_prompts_are_submitted_all_or_none(error: Exception) -> None:
    engine = FullEngine(error)
    plan = Plan("r", [EncodedPrompt([1])] * 3, SamplingParams(seed=0), 1, "", deadline=0.0)
    generation = Generation(plan, cast("Engine", engine), cast("Courier", NoCourier()))
    with pytest.raises(type(error)):
        asyncio.run(generation.start())
    assert engine.running == []
    assert generation.done
