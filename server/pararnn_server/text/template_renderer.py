"""Renders chat templates in processes of their own, with bounds on CPU time, memory and output.

A template is a program that comes with a checkpoint. In a thread it could be neither ended nor kept from
taking memory; a process can be, whatever it does.
"""

from __future__ import annotations

import contextlib
import marshal
import select
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from pararnn_server.text.template_protocol import BROKEN, LENGTH_BYTES, REFUSED, RENDERED

MAX_PROCESSES = 2
DEFAULT_SECONDS = 2.0
DEFAULT_MEMORY_BYTES = 256 << 20
_MAX_TEXTS = 1000
# Without `site`, whose hooks may take longer to import than all that is needed here.
_START = "import sys; sys.path += sys.argv[2:]; from pararnn_server.text.template_worker import main; main()"
_READ_BYTES = 1 << 20
# On a machine so busy that a process gets a hundredth of a core.
_WAIT_FACTOR = 100


class TemplateLimits(NamedTuple):
    """CPU seconds of one request and bytes of memory of one process; a text may take an eighth of these."""

    seconds: float = DEFAULT_SECONDS
    memory_bytes: int = DEFAULT_MEMORY_BYTES

    @property
    def characters(self) -> int:
        """Longest text."""
        return self.memory_bytes // 8


class TemplateFailed(Exception):
    """The template refused the messages, in its own words."""


class TemplateBroken(TemplateFailed):
    """The source is no template."""


class TemplateTooLarge(TemplateFailed):
    """The template took more than it may."""


class TemplateRenderer:
    """Processes that render templates: at most MAX_PROCESSES, started when needed. Any thread may call."""

    def __init__(self, limits: TemplateLimits = TemplateLimits()) -> None:  # noqa: B008  # immutable
        self.limits = limits
        self._idle: deque[subprocess.Popen[bytes]] = deque()
        self._turns = BoundedSemaphore(MAX_PROCESSES)
        weakref.finalize(self, _end_all, self._idle)

    def warm(self) -> None:
        """Start a process ahead of the first request."""
        self._idle.append(self._spawn())

    def close(self) -> None:
        """End the processes that have nothing to do. A later request starts another."""
        _end_all(self._idle)

    def render(self, source: str, variables: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return a text for each set of variables. Raises TemplateFailed and its kinds."""
        fields = [dict(each) for each in variables]
        # Only this direction is marshalled: what the process answers is not trusted.
        request = marshal.dumps((source, fields, self.limits.seconds, self.limits.characters))
        with self._turns:
            process = self._take()
            try:
                kind, texts = _exchange(process, request, time.monotonic() + self._patience)
            except (OSError, EOFError, ValueError) as error:
                _end(process)
                raise self._too_large() from error
            except BaseException:
                _end(process)
                raise
            self._idle.append(process)
        if kind == RENDERED:
            return texts
        if kind in (BROKEN, REFUSED):
            raise (TemplateBroken if kind == BROKEN else TemplateFailed)(texts[0])
        raise self._too_large()

    @property
    def _patience(self) -> float:
        return _WAIT_FACTOR * self.limits.seconds

    def _take(self) -> subprocess.Popen[bytes]:
        while self._idle:
            process = self._idle.pop()
            # An idle process may have been ended from outside, by the kernel's memory killer for example.
            if process.poll() is None:
                return process
            _end(process)
        return self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        folders = sorted({str(_folder_of(name)) for name in ("jinja2", "markupsafe", "pararnn_server")})
        return subprocess.Popen(
            # Isolated: no variable and no folder of the user's changes what the process imports.
            [sys.executable, "-I", "-S", "-c", _START, str(self.limits.memory_bytes), *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # A Ctrl-C in the terminal is for the server alone.
            start_new_session=True,
        )

    def _too_large(self) -> TemplateTooLarge:
        seconds, memory_bytes = self.limits
        return TemplateTooLarge(
            f"it takes more than {seconds:g} s of CPU time, {memory_bytes >> 20} MiB of memory"
            f" or {self.limits.characters} characters (--template-seconds, --template-memory-bytes)"
        )


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1]


def _exchange(process: subprocess.Popen[bytes], request: bytes, deadline: float) -> tuple[bytes, list[str]]:
    assert process.stdin is not None
    left = memoryview(len(request).to_bytes(LENGTH_BYTES, "little") + request)
    while left:
        left = left[process.stdin.write(left) :]
    answer = _Answer(process, deadline)
    kind = answer.read(1)
    count = answer.number()
    # A hostile template may have taken over the process: its answer is not trusted.
    if count > _MAX_TEXTS:
        raise ValueError("too many texts")
    # JSON strings may hold lone surrogates, which plain UTF-8 refuses.
    texts = [answer.read(answer.number()).decode("utf-8", "surrogatepass") for _ in range(count)]
    return kind, texts


class _Answer:
    """Read what a process writes, until a deadline. Raises EOFError when it ends before."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        assert process.stdout is not None
        self._file = process.stdout
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._deadline = deadline

    def number(self) -> int:
        return int.from_bytes(self.read(LENGTH_BYTES), "little")

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            left = self._deadline - time.monotonic()
            # What the file's buffer holds is not seen by poll, so the file has none.
            if left <= 0 or not self._poll.poll(left * 1000):
                raise EOFError
            piece = self._file.read(min(size, _READ_BYTES))
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # A request that was not sent whole is lost with its process.
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _end_all(processes: deque[subprocess.Popen[bytes]]) -> None:
    while processes:
        _end(processes.pop())
