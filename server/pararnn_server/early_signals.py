"""Signals that come before the server answers them itself."""

from __future__ import annotations

import os
import signal
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h"


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end the process with exit code 0 until the server takes them over.

    Process 1 of a container gets no signal that it has no handler for. One that is ignored stays so (nohup).
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """Nothing is written yet that could be lost; threads that load a checkpoint need no waiting for."""
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)  # a progress bar hides it
    os._exit(0)
