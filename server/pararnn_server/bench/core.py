"""The model alone, as the engine calls it: prefill in chunks of a step's budget, decode of full batches."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from pararnn_core.models.base import ServingModel
from pararnn_server.bench.timing import Repetition, seconds

CHUNK = 512
_LEAST_DECODE_SECONDS = 0.2

Timed = Callable[[Callable[[], object]], float]
"""Does the work and returns the seconds that it took, to its end."""


class CoreRun:
    """A model with a pool of its own and random tokens.

    chunk: tokens of a prefill's step; timed: as a device counts them that works on after the call returns.
    """

    def __init__(
        self, model: ServingModel, num_slots: int, chunk: int = CHUNK, timed: Timed = seconds
    ) -> None:
        self._model = model
        self._chunk = chunk
        self._timed = timed
        self._state = model.new_state(num_slots)
        # As the engine does when it starts: a graph must not be recorded in a measurement.
        model.capture_decodes(self._state)
        # Same tokens in every run, so that runs can be compared.
        self._generator = torch.Generator().manual_seed(1)

    def prefill(self, length: int) -> Repetition:
        """Seconds to take in `length` tokens of one sequence and give the logits of the last."""
        tokens = self._tokens(length)
        return lambda: self._timed(lambda: self._feed(tokens))

    def decode(self, batch: int, steps: int | None = None) -> Repetition:
        """Seconds of one step of `batch` sequences, averaged over so many, or over at least 0.2 s of them.

        None is for a CPU: a device would be asked for steps far ahead of those that it has done.
        """
        tokens, slots = self._tokens(batch), torch.arange(batch, dtype=torch.int32)
        bounds = torch.arange(batch + 1, dtype=torch.int32)
        afresh = torch.zeros(batch, dtype=torch.bool)

        def step() -> object:
            return self._model.step(tokens, bounds, slots, self._state)

        def repeat() -> float:
            # Other cases use the same slots; one step brings threads and caches back to this one.
            self._model.step(tokens, bounds, slots, self._state, has_initial_state=afresh)
            if steps is not None:
                return self._timed(lambda: [step() for _ in range(steps)]) / steps
            done, start = 0, time.perf_counter()
            while (taken := time.perf_counter() - start) < _LEAST_DECODE_SECONDS or not done:
                step()
                done += 1
            return taken / done

        return repeat

    def generate(self, batch: int, prompt_tokens: int, new_tokens: int) -> Repetition:
        """Seconds to take in a prompt for each of `batch` sequences and then to give each its new tokens."""
        prompts, slots = self._tokens(batch * prompt_tokens), torch.arange(batch, dtype=torch.int32)
        tokens, bounds = self._tokens(batch), torch.arange(batch + 1, dtype=torch.int32)
        at_once = max(1, self._chunk // prompt_tokens)

        def work() -> None:
            for first in range(0, batch, at_once):
                count = min(at_once, batch - first)
                chunk = prompts[first * prompt_tokens : (first + count) * prompt_tokens]
                afresh = torch.zeros(count, dtype=torch.bool)
                self._model.step(
                    chunk,
                    bounds[: count + 1] * prompt_tokens,
                    slots[first : first + count],
                    self._state,
                    has_initial_state=afresh,
                )
            # The prompt's last row has given the first new token.
            for _ in range(new_tokens - 1):
                self._model.step(tokens, bounds, slots, self._state)

        return lambda: self._timed(work)

    def _feed(self, tokens: torch.Tensor) -> None:
        slot = torch.zeros(1, dtype=torch.int32)
        for start in range(0, len(tokens), self._chunk):
            chunk = tokens[start : start + self._chunk]
            bounds = torch.tensor([0, len(chunk)], dtype=torch.int32)
            goes_on = torch.tensor([start > 0])
            last = start + self._chunk >= len(tokens)
            # Only the last chunk needs logits, as in the engine.
            rows = None if last else torch.empty(0, dtype=torch.int64)
            self._model.step(chunk, bounds, slot, self._state, has_initial_state=goes_on, logits_indices=rows)

    def _tokens(self, count: int) -> torch.Tensor:
        return torch.randint(self._model.config.vocab_size, (count,), generator=self._generator)
