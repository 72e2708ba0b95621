"""A process that renders chat templates for the server, which ends it when one takes too long.

Run as a script and given the folders of Jinja and MarkupSafe: it starts in the time that these need.
A request is marshalled: (source, variables of each text, CPU seconds, characters). An answer is one byte and
texts, each after its length.
"""

from __future__ import annotations

import json
import marshal
import os
import resource
import signal
import sys
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import IO, Any, NoReturn

RENDERED, REFUSED, BROKEN, TOO_LONG = b"t", b"r", b"b", b"l"
LENGTH_BYTES = 8
_MAX_WORDS = 500


def main() -> None:
    """Answer requests until standard input ends."""
    sys.path.extend(sys.argv[2:])
    with open("/proc/self/statm") as statistics:
        pages = int(statistics.read().split()[0])
    limit = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    _compiled("")
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
        compiled = _compiled(template)
    except MemoryError:
        raise
    except Exception as error:  # a hostile source makes the compiler raise anything
        return BROKEN, [_words(error)]
    try:
        texts = [_joined(compiled.generate(each), characters) for each in variables]
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


@lru_cache(maxsize=4)
def _compiled(source: str) -> Any:
    """Compile a template in the environment of transformers.

    Jinja is imported here, because its folder is known only once the process runs.
    """
    from jinja2 import TemplateError  # noqa: PLC0415
    from jinja2.exceptions import SecurityError  # noqa: PLC0415
    from jinja2.ext import Extension, loopcontrols  # noqa: PLC0415
    from jinja2.nodes import CallBlock  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415
    from jinja2.utils import Namespace  # noqa: PLC0415

    class Generation(Extension):
        """{% generation %} marks what a model is trained to write; here it is text like any other."""

        tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

        def _text(self, caller: Any) -> Any:
            return caller()

    class Dictionary:
        """`dict` without the attributes of the type."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args)

    class PublicNamespace(Namespace):
        """`namespace` whose names do not begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            given = dict(*args[1:], **kwargs)
            for name in given:
                check_name(name)
            Namespace.__init__(args[0], given)

        def __setitem__(self, name: str, value: Any) -> None:
            check_name(name)
            Namespace.__setitem__(self, name, value)

    def check_name(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"{name!r}: names of a namespace must not begin with an underscore")

    def raise_exception(message: object) -> NoReturn:
        raise TemplateError(str(message))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": Dictionary(),
        "namespace": PublicNamespace,
    }
    return environment.from_string(source)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


if __name__ == "__main__":
    main()
