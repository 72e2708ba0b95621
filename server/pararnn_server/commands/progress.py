"""Progress bars on standard error, so that standard output stays clean. Drawn on terminals only."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pararnn_server.metrics.units import as_bytes


class _Speed(ProgressColumn):
    """Bytes per second, in the units of all other sizes."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn.render."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{as_bytes(int(speed))}/s", style="progress.data.speed")


class ByteProgress:
    """Call it with (bytes done, bytes in all). Drawn until all is done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar = _bars(DownloadColumn(binary_units=True), _Speed())
        self._task: TaskID | None = None

    def __enter__(self) -> ByteProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Report progress; any thread may call."""
        # The total is not known before the first call.
        if self._task is None:
            self._task = self._bar.add_task(self._what, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        if done >= total:
            self._bar.stop()


class StageProgress:
    """Call it with (what is being done, done, in all): a bar for each, drawn until the block ends."""

    def __init__(self) -> None:
        self._bars = _bars(TaskProgressColumn(), TimeRemainingColumn())
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report progress; any thread may call."""
        if not self._tasks:
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


def _bars(*columns: ProgressColumn) -> Progress:
    # Log lines go to the real standard error, whose stream must not be replaced.
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    )
