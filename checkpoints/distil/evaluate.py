"""Figures of a student beside its teacher: divergence on held-out text, replies to the held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from tokenizers import Tokenizer

from checkpoints.distil.learner import Learner
from checkpoints.distil.prompts import HeldOutPrompt
from checkpoints.distil.replies import Decoder, Reply, greedy, replies
from checkpoints.distil.text.documents import prompt_text
from checkpoints.distil.token_streams import KINDS, Stream, Streams
from checkpoints.distil.windows import SHORT, Windows, batch_of
from pararnn_core.assemble.assemble import EOS_TOKEN_ID

REPEATED_TOKENS = 8
MAX_REPLY_TOKENS = 200
REPLIES_AT_ONCE = 50
WINDOWS = 64
WINDOWS_AT_ONCE = 8


@dataclass(frozen=True)
class TextFigures:
    """Figures on text in nats a token. perplexity_ratio: the student's over the teacher's."""

    tokens: int
    kl: float
    student: float
    teacher: float
    perplexity_ratio: float


@dataclass(frozen=True)
class ReplyFigures:
    """Counts over all held-out prompts. right: right answers to prompts that ask for facts."""

    prompts: int
    repeated: int
    ended: int
    facts: int
    right: int


def text_figures(learner: Learner, streams: Streams, windows: int = WINDOWS) -> dict[str, TextFigures]:
    """Return the figures of chat and of prose, over the first windows of a random order."""
    return {kind: _text_figures(learner, streams[f"held_out-{kind}"], windows) for kind in KINDS}


def _text_figures(learner: Learner, stream: Stream, windows: int) -> TextFigures:
    drawn = Windows(stream, SHORT, seed=0)
    count = min(windows, len(drawn.starts))
    sums = [0.0, 0.0, 0.0]
    for first in range(0, count, WINDOWS_AT_ONCE):
        rows = drawn.rows(first, min(WINDOWS_AT_ONCE, count - first))
        figures = learner.measure(batch_of(rows))
        for place, value in enumerate((figures.kl, figures.student, figures.teacher)):
            sums[place] += value * len(rows) / count
    kl, student, teacher = sums
    return TextFigures(count * SHORT, kl, student, teacher, math.exp(student - teacher))


def held_out_replies(decoder: Decoder, tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt]) -> list[Reply]:
    """Return greedy replies of at most MAX_REPLY_TOKENS each, without a system message."""
    made: list[Reply] = []
    for some in _parts(prompts, REPLIES_AT_ONCE):
        ids = [tokenizer.encode(prompt_text([("user", one.prompt)])).ids for one in some]
        made += replies(decoder, ids, greedy, EOS_TOKEN_ID, MAX_REPLY_TOKENS)
    return made


def reply_figures(
    made: Sequence[Reply], tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt]
) -> ReplyFigures:
    """Count right answers, ends and repetitions."""
    facts = [(one, reply) for one, reply in zip(prompts, made, strict=True) if one.answers]
    return ReplyFigures(
        prompts=len(prompts),
        repeated=sum(has_repetition(reply.tokens) for reply in made),
        ended=sum(reply.ended for reply in made),
        facts=len(facts),
        right=sum(one.is_right(tokenizer.decode(reply.tokens)) for one, reply in facts),
    )


def has_repetition(tokens: Sequence[int], length: int = REPEATED_TOKENS) -> bool:
    """Return True if some sequence of `length` tokens appears twice."""
    runs = [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
    return len(set(runs)) < len(runs)


def markdown_table(tokens: int, text: dict[str, TextFigures], made: dict[str, ReplyFigures]) -> str:
    """Return the figures as a card's table. made: by "student" and "teacher"."""
    lines = [f"After {tokens:,} tokens of training:", "", "| | student | teacher |", "|---|---|---|"]
    for kind, figures in text.items():
        student, teacher = f"{figures.student:.3f}", f"{figures.teacher:.3f}"
        lines += [
            f"| KL to the teacher on held-out {kind}, nats a token | {figures.kl:.3f} | 0 |",
            f"| cross-entropy on held-out {kind}, nats a token | {student} | {teacher} |",
            f"| perplexity on held-out {kind} over the teacher's | {figures.perplexity_ratio:.3f} | 1 |",
        ]
    if made:
        ours, its = asdict(made["student"]), asdict(made["teacher"])
        for name, title in (
            ("repeated", f"replies with a repeated {REPEATED_TOKENS}-gram, of {ours['prompts']}"),
            ("ended", f"replies that end by themselves, of {ours['prompts']}"),
            ("right", f"right answers to facts, of {ours['facts']}"),
        ):
            lines.append(f"| {title} | {ours[name]} | {its[name]} |")
    return "\n".join(lines) + "\n"


def _parts(items: Sequence[HeldOutPrompt], size: int) -> Iterator[Sequence[HeldOutPrompt]]:
    return (items[start : start + size] for start in range(0, len(items), size))
