"""Documents name files that exist, decisions have four parts, and few files serve a request."""

import re
from pathlib import Path

import pytest

from tests.rooms import ROOT

SERVER = ROOT / "server" / "pararnn_server"
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *(ROOT / name for name in ("benchmarks/README.md", "checkpoints/README.md")),
    *ROOT.glob("clients/*/README.md"),
]
DECISIONS = sorted(set(ROOT.glob("docs/decisions/*.md")) - {ROOT / "docs/decisions/README.md"})
MAP = ROOT / "ARCHITECTURE.md"
NOT_HERE = {"CHANGELOG.md"}  # names files of the past
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?)`")
SUFFIXES = (".py", ".h", ".cpp", ".cu", ".cuh", ".md", ".json", ".toml", ".yml", "/")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")
MOST_FILES_OF_A_REQUEST = 30


def documents() -> list[Path]:
    return sorted(path for path in set(DOCUMENTS) if path.name not in NOT_HERE)


def exists(name: str, document: Path) -> bool:
    folders = [ROOT, document.parent, *([SERVER] if document == MAP else [])]
    return any((folder / name).exists() for folder in folders)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    assert [
        name for name in LINK.findall(document.read_text()) if not (document.parent / name).exists()
    ] == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(document: Path) -> None:
    top = {path.name for path in ROOT.iterdir()} | {path.name for path in SERVER.iterdir() if document == MAP}
    named = {name for name in PATH.findall(document.read_text()) if name.endswith(SUFFIXES)}
    ours = {name for name in named if name.split("/")[0] in top}
    assert sorted(name for name in ours if not exists(name, document)) == []


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_why_and_what_tests_it(decision: Path) -> None:
    text = decision.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence", "Tested by"]
    assert f"({decision.name})" in (decision.parent / "README.md").read_text()
    assert re.search(r"`tests/", text.partition("## Tested by")[2])


def test_few_files_serve_a_request() -> None:
    way = MAP.read_text().partition("## How a request is served")[2].partition("\n## ")[0]
    files = {name for name in PATH.findall(way) if name.endswith(".py")}
    assert len(files) >= 20
    assert len(files) <= MOST_FILES_OF_A_REQUEST
