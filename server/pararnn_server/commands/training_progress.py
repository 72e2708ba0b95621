"""Progress of a training: one line that changes on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pararnn_core.training.run import Report

# Lines of a log, in seconds: soon at first, then rarely.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0


@contextmanager
def training_progress(compiling: bool) -> Iterator[Callable[[Report], None]]:
    """Yield a function that shows a report after each step, on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(compiling)
        return
    bar = Progress(
        BarColumn(),
        TextColumn("{task.percentage:>5.1f}%  {task.description}"),
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(_BEGINNING if compiling else "", total=1.0)

        def show(report: Report) -> None:
            bar.update(task, completed=min(1.0, _share(report)), description=describe(report))

        yield show


def describe(report: Report) -> str:
    """Return step, loss, held-out bits per byte, speed and time left as a line."""
    held_out = "" if report.held_out is None else f"  held out {report.held_out:.3f} bits/byte"
    return (
        f"step {int(report.row['step'])}  loss {report.row['loss']:.3f}{held_out}"
        f"  {report.tokens_per_second:,.0f} tokens/s  {_clock(report.left)} left"
    )


_BEGINNING = "compiling the layers: half a minute, once per size"


class _Lines:
    def __init__(self, compiling: bool) -> None:
        self._pause = _FIRST_PAUSE
        self._shown = time.monotonic()
        if compiling:
            print(_BEGINNING, file=sys.stderr, flush=True)

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._shown >= self._pause or report.left <= 0:
            print(f"{100 * _share(report):5.1f}%  {describe(report)}", file=sys.stderr, flush=True)
            self._shown, self._pause = now, min(2 * self._pause, _LONGEST_PAUSE)


def _share(report: Report) -> float:
    return 1.0 if report.left <= 0 else report.row["progress"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
