"""Signals that come before the server, or the command, answers them itself."""

from __future__ import annotations

import os
import signal
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h"


def end_on_signals() -> None:
    """SIGTERM, SIGHUP and Ctrl-C end the process with exit code 0 until the server takes them over.

    Process 1 of a container gets no signal that it has no handler for. One that is ignored stays so (nohup).
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def end_on_interrupt() -> None:
    """Ctrl-C ends the process without a traceback: during the imports of any command but `serve`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_interrupt() -> None:
    """Undo `end_on_interrupt`: from now on a command may have something to tidy up."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    """Nothing is written yet that could be lost; threads that load a checkpoint need no waiting for."""
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)  # a progress bar hides it
    os._exit(0)
