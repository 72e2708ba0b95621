"""The corpus: installed sources of the Python standard library, split into training and held-out files."""

import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pararnn_core.training.chat_template import SPECIAL_TOKENS

HELD_OUT_PER_MILLE = 50

TEST_DIRECTORIES = frozenset({"test", "tests", "idle_test"})
INSTALLED_DIRECTORIES = frozenset(
    {"site-packages", "dist-packages", "_bundled", "lib-dynload", "__pycache__"}
)
# Tables of code points, help topics and character names are megabytes that teach no Python.
TABLE_DIRECTORIES = frozenset({"encodings", "pydoc_data"})
EXCLUDED_DIRECTORIES = TEST_DIRECTORIES | INSTALLED_DIRECTORIES | TABLE_DIRECTORIES
TABLE_FILES = frozenset({"html/entities.py"})
# The interpreter's build writes these files, with paths of one machine.
BUILD_PREFIXES = ("_sysconfigdata", "config-")


@dataclass(frozen=True)
class Document:
    """One source file. path: relative to the library's root, with forward slashes."""

    path: str
    text: str

    @property
    def held_out(self) -> bool:
        """True if the document is not used in training."""
        return is_held_out(self.path)


def stdlib_root() -> Path:
    """Return the root of this interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def is_held_out(path: str) -> bool:
    """Return True for about 5 % of paths, chosen by SHA-256 of the path."""
    digest = hashlib.sha256(path.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1000 < HELD_OUT_PER_MILLE


def is_included(path: str) -> bool:
    """Return True if a path, relative to the library's root, belongs to the corpus."""
    parts = path.split("/")
    if EXCLUDED_DIRECTORIES.intersection(parts[:-1]) or path in TABLE_FILES:
        return False
    return not any(part.startswith(BUILD_PREFIXES) for part in parts)


def read_source(file: Path) -> str | None:
    """Return the file's text; None if it is blank, not UTF-8, or spells a special token."""
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.strip() or any(token in text for token in SPECIAL_TOKENS):
        return None
    return text


def load_documents(root: Path | None = None) -> list[Document]:
    """Return all usable source files under root (default: this interpreter's library), sorted by path.

    Raises FileNotFoundError if nothing is found.
    """
    root = root or stdlib_root()
    documents = list(_walk(root))
    if not documents:
        raise FileNotFoundError(f"no Python sources under {root}: give the folder of a standard library")
    return documents


def split_documents(documents: Iterable[Document]) -> tuple[list[Document], list[Document]]:
    """Return (training, held_out), each in the given order."""
    training: list[Document] = []
    held_out: list[Document] = []
    for document in documents:
        (held_out if document.held_out else training).append(document)
    return training, held_out


def corpus_fingerprint(documents: Iterable[Document]) -> str:
    """Return SHA-256 over paths and texts. Equal fingerprints mean the same corpus."""
    digest = hashlib.sha256()
    for document in documents:
        for part in (document.path, document.text):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _walk(root: Path) -> Iterator[Document]:
    paths = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.py"))
    for path in filter(is_included, paths):
        text = read_source(root / path)
        if text is not None:
            yield Document(path, text)
