"""A checkpoint's files about text: tokenizer, chat templates and defaults of generation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pararnn_core.storage.untrusted_file import (
    CheckpointError,
    is_present,
    read_json,
    read_small_file,
    read_text,
)

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
GENERATION_CONFIG = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
NAMED_TEMPLATES = "additional_chat_templates"
DEFAULT_TEMPLATE = "default"
VOCABULARIES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model")

MAX_TOKENIZER_BYTES = 64 << 20
MAX_JSON_BYTES = 16 << 20
MAX_TEMPLATE_BYTES = 1 << 20
MAX_NAMED_TEMPLATES = 64

_LIMITS = {
    TOKENIZER: MAX_TOKENIZER_BYTES,
    TOKENIZER_CONFIG: MAX_JSON_BYTES,
    SPECIAL_TOKENS_MAP: MAX_JSON_BYTES,
    ADDED_TOKENS: MAX_JSON_BYTES,
    GENERATION_CONFIG: MAX_JSON_BYTES,
    CHAT_TEMPLATE: MAX_TEMPLATE_BYTES,
    **dict.fromkeys(VOCABULARIES, MAX_TOKENIZER_BYTES),
}
TEXT_FILES = (*_LIMITS, NAMED_TEMPLATES)
"""Every entry of a checkpoint's directory that this module knows."""


class CheckpointText:
    """Reader of the text files of one directory. Raises CheckpointError for a broken file when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Return True if the directory has the file."""
        return is_present(self.folder / name)

    def fields(self, name: str) -> dict[str, Any]:
        """Return the object of a JSON file, {} for a file that does not exist."""
        if not self.has(name):
            return {}
        return read_json(self.folder / name, _LIMITS[name], within=self.folder)

    def tokenizer(self) -> bytes:
        """Return tokenizer.json."""
        return read_small_file(self.folder / TOKENIZER, MAX_TOKENIZER_BYTES, within=self.folder)

    def files(self) -> dict[str, bytes]:
        """Return the bytes of all text files, by path below the directory."""
        names = [name for name in _LIMITS if self.has(name)]
        files = {
            name: read_small_file(self.folder / name, _LIMITS[name], within=self.folder) for name in names
        }
        for path in self._named_template_paths():
            data = read_small_file(path, MAX_TEMPLATE_BYTES, within=self.folder)
            files[f"{NAMED_TEMPLATES}/{path.name}"] = data
        return files

    def chat_templates(self) -> dict[str, str]:
        """Return the sources of all chat templates by name, {} if there is none.

        Files win over tokenizer_config.json, as they do in transformers.
        """
        found: dict[str, str] = {}
        if self.has(CHAT_TEMPLATE):
            found[DEFAULT_TEMPLATE] = self._template(self.folder / CHAT_TEMPLATE)
        for path in self._named_template_paths():
            found[path.name.removesuffix(".jinja")] = self._template(path)
        return found or self._templates_of_config()

    def _templates_of_config(self) -> dict[str, str]:
        entry = self.fields(TOKENIZER_CONFIG).get("chat_template")
        if entry is None:
            return {}
        if isinstance(entry, str):
            return {DEFAULT_TEMPLATE: entry}
        templates = _named(entry)
        if templates is None:
            why = "chat_template must be text, or a list of objects with name and template"
            raise CheckpointError(self.folder / TOKENIZER_CONFIG, why)
        return templates

    def _template(self, path: Path) -> str:
        return read_text(path, MAX_TEMPLATE_BYTES, within=self.folder)

    def _named_template_paths(self) -> list[Path]:
        folder = self.folder / NAMED_TEMPLATES
        if not self.has(NAMED_TEMPLATES):
            return []
        paths = sorted(_templates_in(folder))
        if len(paths) > MAX_NAMED_TEMPLATES:
            raise CheckpointError(folder, f"holds more than {MAX_NAMED_TEMPLATES} templates")
        return paths


def _templates_in(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if path.suffix == ".jinja")
    except OSError as error:
        raise CheckpointError(folder, f"cannot be read ({error.strerror})") from None


def _named(entry: object) -> dict[str, str] | None:
    """Return the templates of a list of {"name", "template"} or of a mapping; None for anything else."""
    if isinstance(entry, list) and all(isinstance(each, dict) for each in entry):
        entry = {each.get("name"): each.get("template") for each in entry}
    if not isinstance(entry, dict) or not entry:
        return None
    good = all(isinstance(name, str) and isinstance(source, str) for name, source in entry.items())
    return entry if good else None
