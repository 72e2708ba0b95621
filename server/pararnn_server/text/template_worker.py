"""A process that renders chat templates for the server, which ends it when one takes too long.

Given the folders of Jinja, MarkupSafe and this package, it starts in the time that these need.
A request is marshalled: (source, variables of each text, CPU seconds, characters). An answer is one byte and
texts, each after its length.
"""

from __future__ import annotations

import marshal
import os
import resource
import signal
import sys
from collections.abc import Iterable
from typing import IO, Any

from pararnn_server.text.template_environment import compiled
from pararnn_server.text.template_protocol import BROKEN, LENGTH_BYTES, REFUSED, RENDERED, TOO_LONG

_MAX_WORDS = 500


def main() -> None:
    """Answer requests until standard input ends."""
    with open("/proc/self/statm") as statistics:
        pages = int(statistics.read().split()[0])
    # The interpreter itself does not count against the template's memory.
    limit = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # A core file would hold the messages of users.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    # Warms Jinja's own imports and caches before the first request is timed.
    compiled("")
    while size := source.read(LENGTH_BYTES):
        request = marshal.loads(source.read(int.from_bytes(size, "little")))
        kind, texts = _answer(*request)
        _write(answers, kind, texts)


def _answer(
    template: str, variables: list[dict[str, Any]], seconds: float, characters: int
) -> tuple[bytes, list[str]]:
    # The kernel ends the process when its time is up, whatever it is doing then.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return _render(template, variables, characters)
    except MemoryError:
        # What is left of the heap may be too small for the next request.
        os._exit(1)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _render(template: str, variables: list[dict[str, Any]], characters: int) -> tuple[bytes, list[str]]:
    try:
        source = compiled(template)
    except MemoryError:
        raise
    except Exception as error:  # a hostile source makes the compiler raise anything
        return BROKEN, [_words(error)]
    try:
        texts = [_joined(source.generate(each), characters) for each in variables]
    except _TooLong:
        return TOO_LONG, []
    except MemoryError:
        raise
    except Exception as error:  # a template may raise anything
        return REFUSED, [_words(error)]
    return RENDERED, texts


class _TooLong(Exception):
    """The text has more characters than were asked for."""


def _joined(pieces: Iterable[str], characters: int) -> str:
    whole = []
    for piece in pieces:
        characters -= len(piece)
        if characters < 0:
            raise _TooLong
        whole.append(piece)
    return "".join(whole)


def _write(answers: IO[bytes], kind: bytes, texts: list[str]) -> None:
    answers.write(kind + len(texts).to_bytes(LENGTH_BYTES, "little"))
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        answers.write(len(data).to_bytes(LENGTH_BYTES, "little") + data)
    answers.flush()


def _words(error: Exception) -> str:
    words = str(error) if type(error).__module__.startswith("jinja2") else f"{type(error).__name__}: {error}"
    return words[:_MAX_WORDS]
