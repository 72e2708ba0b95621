"""Docstrings begin with a verb or a noun, so that a reader need not guess what a fragment belongs to."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rooms import ROOT

FOLDERS = ("pararnn_core", "server", "clients", "checkpoints", "benchmarks", "tests")
FRAGMENT = re.compile(
    r"(?:What|As of|Of|Whether|How|Where|When|Which|Who|Whoever|Whatever|If|For|From|With|Without|To|By|In)\b"
    r"|(?:Describes?|Tells?|Says?|Represents?|Returns?|Decides?) (?:what|whether|how|which|who|where|when)\b"
    r"|Represents?\b"
)


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those behind constants included."""
    for node in ast.walk(ast.parse(path.read_text())):
        for body in (getattr(node, "body", None),):
            for statement in body if isinstance(body, list) else ():
                if (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                ):
                    yield statement.lineno, statement.value.value


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_verb_or_a_noun(folder: str) -> None:
    fragments = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in docstrings(path)
        if FRAGMENT.match(text)
    ]
    assert fragments == []
