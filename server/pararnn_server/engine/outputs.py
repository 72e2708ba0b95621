"""Outputs of the engine thread, dispatched to the coroutines that answer with one wake-up per burst."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pararnn_core.sampling.sampled import Sampled
from pararnn_server.engine.request import Embedding, Output, PromptLogprobs, Tokens

Addressed: TypeAlias = tuple[int, Output]


class OutputQueue:
    """Outputs of one HTTP request in order, each with the index of its prompt. For the event loop only.

    Outputs that were taken count as waiting until the next are taken.
    """

    def __init__(self) -> None:
        self._items: deque[Addressed] = deque()
        self._filled = asyncio.Event()
        self._arrived_bytes = 0
        self._taken_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Memory of outputs that the reader has not sent yet."""
        return self._arrived_bytes + self._taken_bytes

    def put(self, prompt: int, output: Output) -> None:
        """Add an output and wake the reader."""
        self._items.append((prompt, output))
        # Bytes, not outputs: log-probabilities make one many times as large as another.
        self._arrived_bytes += weight(output)
        self._filled.set()

    def nudge(self) -> None:
        """Wake the reader without anything to read."""
        self._filled.set()

    async def take(self) -> list[Addressed]:
        """Wait, then return all outputs: none after a nudge, else at least one."""
        await self._filled.wait()
        self._filled.clear()
        items = list(self._items)
        self._items.clear()
        self._taken_bytes, self._arrived_bytes = self._arrived_bytes, 0
        return items


class OutputDispatcher:
    """Dispatcher of outputs to queues, one per application. `emitter` makes a Request's callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sent: deque[tuple[OutputQueue, int, Output]] = deque()
        self._called = False

    def emitter(self, queue: OutputQueue, prompt: int) -> Callable[[Output], None]:
        """Return a callback for any thread, which returns at once."""

        def emit(output: Output) -> None:
            self._sent.append((queue, prompt, output))
            if not self._called:
                self._called = True
                # Each such call wakes the loop through a socket: one serves a whole step.
                self._loop.call_soon_threadsafe(self._deliver)

        return emit

    def _deliver(self) -> None:
        # Cleared first: whatever is appended from here on is either seen below or calls again.
        self._called = False
        while self._sent:
            queue, prompt, output = self._sent.popleft()
            queue.put(prompt, output)


EVENT_BYTES = 200
# Of a token with its log-probability, and of each alternative, as Python objects.
ROW_BYTES = 250
ALTERNATIVE_BYTES = 130


def weight(output: Output) -> int:
    """Return about how many bytes an output takes in memory."""
    if isinstance(output, Tokens):
        text = EVENT_BYTES + len(output.text_bytes)
        return text + _rows_bytes(output.logprobs) if output.logprobs else text
    if isinstance(output, Embedding):
        return EVENT_BYTES + output.vector.nbytes
    return EVENT_BYTES + (_rows_bytes(output.rows) if isinstance(output, PromptLogprobs) else 0)


def _rows_bytes(rows: Sequence[Sampled | None]) -> int:
    """Return about how many bytes rows of log-probabilities take."""
    # All rows of an output have as many alternatives as the last.
    last = rows[-1] if rows else None
    return len(rows) * (ROW_BYTES + ALTERNATIVE_BYTES * (len(last.top) if last is not None else 0))
