"""The file of results: the parts of one run, which may be measured at different times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.beside_teacher.points import Point


@dataclass(frozen=True)
class Part:
    """Both models at one context, measured in turn. its: the teacher's point, if it reaches this context.

    began: date and time; load: of the machine in the minute before
    """

    began: str
    load: float
    ours: Point
    its: Point | None


@dataclass(frozen=True)
class Results:
    """A run. settings: common to all its parts, such as the machine, versions and digests of files."""

    settings: Mapping[str, str | int]
    parts: tuple[Part, ...] = ()

    def with_part(self, part: Part) -> Results:
        """Return the results with one more part."""
        return replace(self, parts=(*self.parts, part))

    @property
    def tokens(self) -> int:
        """Tokens of the longest context that is measured."""
        return self.parts[-1].ours.tokens if self.parts else 0


def write_results(results: Results, file: Path) -> None:
    """Replace the file in one step."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)


def read_results(file: Path) -> Results:
    """Read a file of write_results."""
    saved = json.loads(file.read_text(encoding="utf-8"))
    parts = tuple(
        Part(
            part["began"],
            part["load"],
            Point(**part["ours"]),
            None if part["its"] is None else Point(**part["its"]),
        )
        for part in saved["parts"]
    )
    return Results(saved["settings"], parts)


def continued(file: Path, settings: Mapping[str, str | int]) -> Results:
    """Return the results to add parts to. Raises ValueError if the file is of another run."""
    if not file.exists():
        return Results(settings)
    results = read_results(file)
    changed = [name for name in settings if results.settings.get(name) != settings[name]]
    if changed:
        raise ValueError(
            f"{file} is of a run with other settings ({', '.join(changed)}):"
            " remove it, or name another --results"
        )
    return results
