"""Documents as token ids: four streams (training and held out, chat and prose) in one file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from checkpoints.distil.text.documents import Document

END_OF_TEXT = "<|endoftext|>"
BATCH = 2000
SPLITS = ("training", "held_out")
KINDS = ("chat", "prose")


@dataclass(frozen=True)
class Stream:
    """ids (N,) uint16; starts (M,) int64, the first place of each document."""

    ids: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]


Streams = dict[str, Stream]
"""Streams by "training-chat", "training-prose", "held_out-chat", "held_out-prose"."""


def encode_streams(documents: Iterable[Document], tokenizer: Tokenizer) -> Streams:
    """Every document ends in END_OF_TEXT."""
    grouped: dict[str, list[str]] = {f"{split}-{kind}": [] for split in SPLITS for kind in KINDS}
    for document in documents:
        split, kind = SPLITS[document.is_held_out], KINDS[not document.is_chat]
        grouped[f"{split}-{kind}"].append(document.text + END_OF_TEXT)
    return {name: _encode(texts, tokenizer) for name, texts in grouped.items()}


def _encode(texts: list[str], tokenizer: Tokenizer) -> Stream:
    parts: list[npt.NDArray[np.uint16]] = []
    for start in range(0, len(texts), BATCH):
        encoded = tokenizer.encode_batch_fast(texts[start : start + BATCH])
        parts += [np.array(one.ids, dtype=np.uint16) for one in encoded]
    if not parts:
        return Stream(np.zeros(0, np.uint16), np.zeros(0, np.int64))
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return Stream(np.concatenate(parts), np.concatenate(([0], lengths.cumsum()[:-1])))


def save_streams(streams: Streams, file: Path) -> None:
    """Replace the file in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    arrays = {
        f"{name}-{part}": getattr(stream, part)
        for name, stream in streams.items()
        for part in ("ids", "starts")
    }
    np.savez(partial, **arrays)
    os.replace(partial, file)


def load_streams(file: Path) -> Streams:
    """Read what save_streams wrote."""
    with np.load(file) as arrays:
        names = [f"{split}-{kind}" for split in SPLITS for kind in KINDS]
        return {name: Stream(arrays[f"{name}-ids"], arrays[f"{name}-starts"]) for name in names}
