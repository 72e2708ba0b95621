"""The terminal side of `pararnn chat`: lines in, replies out, /commands, Ctrl-C."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from pararnn_client import PararnnError
from rich.console import Console

from pararnn_server.commands.conversation import Conversation
from pararnn_server.commands.failure import CommandFailed
from pararnn_server.metrics.units import as_bytes

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  # gives input() line editing and history

_COMMAND = re.compile(r"/[a-z]+")
HELP = """\
/reset   start over with an empty session
/state   what the session holds
/help    this
/quit    leave (also Ctrl-D)
A line that ends in \\ continues on the next. Ctrl-C ends a reply, not the program."""


class ChatLoop:
    """Replies go to standard output; everything else goes to standard error, so that replies can be piped.

    read_line: gives the next line for a prompt; raises EOFError at the end.
    """

    def __init__(self, conversation: Conversation, read_line: Callable[[str], str] = input) -> None:
        self._conversation = conversation
        self._read_line = read_line
        self._notes = Console(stderr=True, highlight=False)
        self._commands = {"/reset": self._reset, "/state": self._state, "/help": self._help}

    def run(self) -> None:
        """Run until /quit or the end of input."""
        while (text := self._read()) is not None:
            command = text.strip()
            if command in ("/quit", "/exit"):
                return
            if _COMMAND.fullmatch(command):
                self._commands.get(command, self._unknown)()
            # An empty line is a request only where replies continue the text.
            elif text or self._conversation.continues_text:
                self._answer(text)

    def _read(self) -> str | None:
        """The next message, several lines joined; None at the end."""
        prompt = "> "
        lines: list[str] = []
        while True:
            try:
                line = self._read_line(prompt if sys.stdin.isatty() else "")
            except EOFError:
                return "\n".join(lines) if lines else None
            except KeyboardInterrupt:
                self._note("(nothing runs; /quit or Ctrl-D leaves)")
                prompt, lines = "> ", []
                continue
            lines.append(line.removesuffix("\\"))
            if not line.endswith("\\"):
                return "\n".join(lines)
            prompt = ". "

    def _answer(self, text: str) -> None:
        start = time.perf_counter()
        first: float | None = None
        try:
            with _interrupts_go_to(self._conversation.stop):
                for piece in self._conversation.reply(text):
                    first = first or time.perf_counter()
                    # Flushed, because a pipe would hold a reply back until its end.
                    print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print()
            self._note("(broken off: this exchange is not part of the session)")
            return
        except (PararnnError, CommandFailed) as error:
            print()
            self._note(f"{error} (/reset starts a new session)")
            return
        print()
        self._note(self._statistics(start, first or time.perf_counter(), time.perf_counter()))

    def _statistics(self, start: float, first: float, end: float) -> str:
        count, facts = self._conversation.completion_tokens, self._conversation.facts()
        # The first token is left out: its time is that of the prompt.
        speed = f", {(count - 1) / (end - first):.1f} tokens/s" if count > 1 and end > first else ""
        return (
            f"[{count} tokens{speed}, first after {first - start:.2f} s;"
            f" session: {facts.num_tokens:,} tokens in {as_bytes(facts.state_bytes)}]"
        )

    def _reset(self) -> None:
        self._conversation.reset()
        self._note("(a new session)")

    def _state(self) -> None:
        facts = self._conversation.facts()
        rows = (
            ("tokens", f"{facts.num_tokens:,}"),
            ("state", f"{as_bytes(facts.state_bytes)} ({facts.state_bytes:,} bytes)"),
            *facts.details,
        )
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self._note(f"{name.ljust(width)}  {value}")

    def _help(self) -> None:
        self._note(HELP)

    def _unknown(self) -> None:
        self._note(f"no such command\n{HELP}")

    def _note(self, text: str) -> None:
        self._notes.print(text, style="dim", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _interrupts_go_to(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls stop; a second one, for a reply that does not end, is a KeyboardInterrupt."""

    def once(signal_number: int, frame: FrameType | None) -> None:
        # Before `stop`: a second Ctrl-C must work even while it runs.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
