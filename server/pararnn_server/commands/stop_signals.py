"""Signals that ask a long command to stop at the next good moment."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

import typer

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Call it: True after Ctrl-C, SIGTERM or SIGHUP came within the block. A second one ends the process."""

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> StopSignals:
        self._before = {
            number: signal.signal(number, self._handle)
            for number in _SIGNALS
            # One that is ignored stays so (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return True if the command should stop."""
        return self._asked

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise typer.Exit(130)
        self._asked = True
