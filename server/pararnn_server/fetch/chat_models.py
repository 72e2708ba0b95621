"""The chat models that can be fetched, and the files of this program that they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
SUFFIXES = {"int4": "", "int8": "-int8", "bfloat16": "-bf16"}
"""Weight type -> end of the directory's name. The first that is there is served without a name."""
MEGABYTES = {"int4": 97, "int8": 148, "bfloat16": 285}
"""Disk space of a directory, by weight type."""


def mixers_name(cell: str) -> str:
    """Return the name of the file of a cell's mixers among the parts."""
    return f"mixers-{cell}.safetensors.xz"


@dataclass(frozen=True)
class ChatModel:
    """A model of the table. cell: names its mixers."""

    name: str
    directory: str
    cell: str
    description: str

    def directory_of(self, weight_type: str) -> str:
        """Return the directory's name for these weights."""
        return self.directory + SUFFIXES[weight_type]

    def mixers_in(self, parts: Path) -> Path:
        """Return the file of its mixers in the folder of parts."""
        return parts / mixers_name(self.cell)

    def figures_in(self, parts: Path) -> Path:
        """Return the file of the card's figures, which need not exist."""
        return parts / f"figures-{self.cell}.json"


CHAT_MODELS = (
    ChatModel("chat", "paragru-141m-chat", "gru", "ParaGRU distilled from SmolLM2-135M-Instruct, English"),
    ChatModel("chat-lstm", "paralstm-141m-chat", "lstm", "the same with ParaLSTM"),
)


def parts_folder() -> Path:
    """Return the folder of mixers, figures and NOTICE: in the installed package, else in the repository."""
    installed = _HERE / "checkpoints" / "distil"
    return installed if installed.is_dir() else _HERE.parents[1] / "checkpoints" / "distil"


def licence_file(parts: Path) -> Path:
    """Return the text of the Apache License: beside the parts, or at the root of the repository."""
    beside = parts / "LICENSE"
    return beside if beside.exists() else parts.parents[1] / "LICENSE"


def available_models(parts: Path) -> Iterator[ChatModel]:
    """Yield the models whose mixers exist."""
    return (model for model in CHAT_MODELS if model.mixers_in(parts).is_file())
