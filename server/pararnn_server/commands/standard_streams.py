"""Standard input, output and error of a command, however it was started."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open what is closed, and let no character end a command.

    A socket that took the number of a closed stream would receive what is printed; libuv aborts on it. A
    character that the terminal lacks is escaped. A byte of input that is no text becomes U+FFFD.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one: those below are open by now.
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115  # as long as the process
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
