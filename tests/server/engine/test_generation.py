import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from pararnn_server.access.owner import Owner
from pararnn_server.engine.engine import Engine
from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.outputs import OutputDispatcher, OutputQueue
from pararnn_server.engine.request import Output, Request
from pararnn_server.errors import TooManyRequests
from pararnn_server.sessions.turn import Turn
from pararnn_server.text.prompts import EncodedPrompt

from pararnn_core.sampling_params import SamplingParams


class FullEngine:
    """Takes no request, and knows none that could be aborted."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def submit_all(self, requests: Sequence[Request], turn: Turn | None) -> None:
        assert len(requests) == 3
        raise self.error


class NoCourier:
    def emitter(self, queue: OutputQueue, prompt: int) -> object:
        def emit(output: Output) -> None: ...

        return emit


@pytest.mark.parametrize("error", [TooManyRequests("full"), ValueError("a fault"), MemoryError()])
def test_prompts_that_are_refused_leave_nothing_open(error: Exception) -> None:
    engine = FullEngine(error)
    plan = GenerationPlan("r", [EncodedPrompt([1])] * 3, SamplingParams(seed=0), 1, Owner(""), deadline=0.0)
    generation = Generation(plan, cast("Engine", engine), cast("OutputDispatcher", NoCourier()))
    with pytest.raises(type(error)):
        asyncio.run(generation.start())
    generation.close()
    assert generation.done
