"""Replies of the teacher to written prompts: a file that grows batch by batch, and its documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from checkpoints.distil.replies import replies, sampler
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.teacher_decoder import TeacherDecoder
from checkpoints.distil.text.documents import Document, Turn, chat_text, prompt_text
from checkpoints.distil.text.requests import request
from pararnn_core.assemble.assemble import EOS_TOKEN_ID

BATCH = 48
MAX_PROMPT_TOKENS = 96
MAX_REPLY_TOKENS = 160
TEMPERATURE = 0.6
TOP_P = 0.9


def replies_file(folder: Path) -> Path:
    """One JSON object a line, below the training folder."""
    return folder / "replies.jsonl"


def write_batch(teacher: Teacher, tokenizer: Tokenizer, file: Path) -> int:
    """Appends the replies to the next BATCH prompts; returns how many tokens they have."""
    first = len(_rows(file))
    requests = [request(number) for number in range(first, first + BATCH)]
    prompts = [_turns(system, prompt) for system, prompt in requests]
    ids = [tokenizer.encode(prompt_text(turns)).ids[:MAX_PROMPT_TOKENS] for turns in prompts]
    decoder = TeacherDecoder(teacher, MAX_PROMPT_TOKENS + MAX_REPLY_TOKENS)
    made = replies(decoder, ids, sampler(TEMPERATURE, TOP_P, seed=first), EOS_TOKEN_ID, MAX_REPLY_TOKENS)
    rows = [
        {"system": system, "prompt": prompt, "reply": tokenizer.decode(reply.tokens), "ended": reply.ended}
        for (system, prompt), reply in zip(requests, made, strict=True)
    ]
    _append(file, "".join(json.dumps(row) + "\n" for row in rows))
    return sum(len(reply.tokens) for reply in made)


def reply_documents(file: Path) -> Iterator[Document]:
    """A reply that was cut off stays open: nothing teaches the student to end it there."""
    for row in _rows(file):
        turns = _turns(row["system"], row["prompt"])
        reply = (
            chat_text([("assistant", row["reply"])]) if row["ended"] else f"{prompt_text([])}{row['reply']}"
        )
        yield Document(f"reply/{row['prompt']}", chat_text(turns) + reply, is_chat=True)


def _append(file: Path, text: str) -> None:
    """Over what a kill left of a last line."""
    with file.open("a+b") as out:
        out.seek(0)
        whole = out.read().rpartition(b"\n")
        out.truncate(len(whole[0] + whole[1]))
        out.write(text.encode())


def _turns(system: str | None, prompt: str) -> list[Turn]:
    turns: list[Turn] = [("system", system)] if system else []
    return [*turns, ("user", prompt)]


def _rows(file: Path) -> list[dict[str, str]]:
    """Return the lines except a last one that a kill truncated."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
