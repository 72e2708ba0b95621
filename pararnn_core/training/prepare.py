"""Preparation of a run: tokenizer, token files of training and held-out documents, and facts."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.training.chat_template import END_OF_TEXT, END_OF_TURN
from pararnn_core.training.plan import Plan
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.split import held_out_share, rank
from pararnn_core.training.text_files import Document, Progress, TextError, TextFiles
from pararnn_core.training.token_file import Ids, TokenWriter, open_tokens
from pararnn_core.training.tokenizer import (
    SMALLEST_VOCABULARY,
    encode_source,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)

TOKENIZER_FOLDER = "tokenizer"
TRAINING, HELD_OUT = "training.tokens", "held-out.tokens"
BYTES = "bytes"
# A tokenizer's training counts words in memory, and learns nothing more from a longer text.
MOST_TOKENIZER_BYTES = 64 << 20
BATCH = 64
# Names that tokenizers give to the token at the beginning of a text and at the end of one.
_BEGINNINGS = (END_OF_TEXT, "<s>", "<|bos|>", "<|begin_of_text|>", "[CLS]")
_ENDS = (END_OF_TURN, "</s>", "<|im_end|>", "<|eos|>", "<|eot_id|>", END_OF_TEXT, "[SEP]")


@dataclass(frozen=True)
class Prepared:
    """The data of a run. lengths: tokens of each held-out document; facts: for the card."""

    plan: Plan
    config: ModelConfig
    training: Ids
    held_out: Ids
    lengths: Sequence[int]
    held_out_bytes: int
    facts: dict[str, Any]

    @property
    def bits_per_nat(self) -> float:
        """Factor from nats per token to bits per byte, on the held-out text."""
        return len(self.held_out) / self.held_out_bytes / math.log(2)


def prepare(plan: Plan, folder: RunFolder, progress: Progress) -> None:
    """Read the text and write the run's files, the facts last: a folder with facts is whole.

    Raises TextError for a text that cannot be used, ValueError for options that do not fit it.
    """
    plan.check()
    files = TextFiles(Path(plan.text), plan.encoding, progress)
    if not any(is_held_out for is_held_out, _ in _split(files)):
        raise TextError(f"{plan.text}: {files.num_bytes} bytes are too few to hold some out: give more text")
    tokenizer = _tokenizer(plan, files, folder.path / TOKENIZER_FOLDER, progress)
    bos, eos = _special_ids(folder.path / TOKENIZER_FOLDER, tokenizer)
    config = plan.config(tokenizer.get_vocab_size(), bos, eos)
    start = [] if config.bos_token_id is None else [config.bos_token_id]
    encoded = _encoded(files, tokenizer, start, progress)
    write_data(folder, plan, config, encoded, {"text": files.description, "text_sha256": files.sha256})


def write_data(
    folder: RunFolder,
    plan: Plan,
    config: ModelConfig,
    documents: Iterable[tuple[bool, list[int], int]],
    facts: Mapping[str, Any],
) -> None:
    """Write the token files and the facts of a run whose tokenizer is in the folder.

    documents: (is held out, token ids, bytes of the text) of each
    facts: text, its description, and text_sha256, for the card
    """
    held_out_bytes, vocab_size = 0, config.vocab_size
    with (
        TokenWriter(folder.path / TRAINING, vocab_size) as training,
        TokenWriter(folder.path / HELD_OUT, vocab_size) as held_out,
    ):
        for is_held_out, ids, size in documents:
            if is_held_out:
                held_out.write_all([ids])
                held_out_bytes += size
            else:
                training.write(ids)
    made = {"plan": plan.to_dict(), "config": config.to_dict(), "torch": torch.__version__}
    held = {"lengths": held_out.lengths, "held_out_bytes": held_out_bytes}
    folder.write_facts({**made, **held, **facts})


def _encoded(
    files: TextFiles, tokenizer: Tokenizer, start: list[int], progress: Progress
) -> Iterator[tuple[bool, list[int], int]]:
    """Yield all documents as write_data takes them, in batches that are encoded on all cores."""
    documents, done = _split(files), 0
    while batch := list(islice(documents, BATCH)):
        texts = [document.text for _, document in batch]
        for (is_held_out, _), text, ids in zip(batch, texts, encode_source(tokenizer, texts), strict=True):
            size = len(text.encode())
            done += size
            yield is_held_out, start + ids, size
        progress("encoding", done, files.num_bytes)


def prepared(folder: RunFolder) -> Prepared:
    """Return the data of a prepared run."""
    facts = folder.facts()
    config = ModelConfig.from_dict(facts["config"])
    return Prepared(
        Plan.from_dict(facts["plan"]),
        config,
        open_tokens(folder.path / TRAINING, config.vocab_size),
        open_tokens(folder.path / HELD_OUT, config.vocab_size),
        facts["lengths"],
        facts["held_out_bytes"],
        facts,
    )


def _split(files: TextFiles) -> Iterator[tuple[bool, Document]]:
    """Yield (True, document) for those that are held out: at least one, if there are two."""
    share, names = held_out_share(files.num_bytes), _Lowest()
    for document in files.documents():
        names.see(document.name)
    for document in files.documents():
        yield names.count > 1 and (rank(document.name) < share or document.name == names.name), document


class _Lowest:
    """The name with the lowest rank, which is held out in any case."""

    def __init__(self) -> None:
        self.name, self.count = "", 0

    def see(self, name: str) -> None:
        self.count += 1
        if not self.name or rank(name) < rank(self.name):
            self.name = name


def _tokenizer(plan: Plan, files: TextFiles, folder: Path, progress: Progress) -> Tokenizer:
    """Return the run's tokenizer, and write it into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    if plan.tokenizer not in (None, BYTES):
        return _given_tokenizer(Path(str(plan.tokenizer)), folder)
    size = SMALLEST_VOCABULARY if plan.tokenizer == BYTES else plan.tokens_of_the_tokenizer
    tokenizer = train_tokenizer(_some_text(files, progress), size)
    save_tokenizer(tokenizer, folder)
    return tokenizer


def _given_tokenizer(path: Path, folder: Path) -> Tokenizer:
    if path.is_dir():
        # Its templates and names of special tokens come along.
        folder.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (path / name).is_file():
                shutil.copyfile(path / name, folder / name)
    else:
        folder.mkdir()
        shutil.copyfile(path, folder / "tokenizer.json")
    try:
        return load_tokenizer(folder)
    except FileNotFoundError:
        raise TextError(f"--tokenizer {path}: holds no tokenizer.json") from None
    except Exception as error:  # tokenizers raises nothing more precise
        raise TextError(f"--tokenizer {path}: is no tokenizer.json: {error}") from None


def _some_text(files: TextFiles, progress: Progress) -> Iterator[str]:
    """Yield training documents, evenly chosen where there are more than MOST_TOKENIZER_BYTES."""
    share, done = MOST_TOKENIZER_BYTES / max(files.num_bytes, 1), 0
    for is_held_out, document in _split(files):
        done += len(document.text.encode())
        progress("tokenizer", done, files.num_bytes)
        if not is_held_out and rank(f"tokenizer {document.name}") < share:
            yield document.text


def _special_ids(folder: Path, tokenizer: Tokenizer) -> tuple[int | None, int | None]:
    """Return the ids of the tokens at the beginning and the end of a text; None without such a token."""
    config = folder / "tokenizer_config.json"
    named = json.loads(config.read_text()) if config.is_file() else {}
    found = []
    for field, usual in (("bos_token", _BEGINNINGS), ("eos_token", _ENDS)):
        name = named.get(field)
        name = name.get("content") if isinstance(name, dict) else name
        names = usual if name is None else (name,)
        ids = (tokenizer.token_to_id(each) for each in names)
        found.append(next((each for each in ids if each is not None), None))
    return found[0], found[1]
