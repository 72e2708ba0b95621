"""The measured figures of a chat model's card."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from checkpoints.distil.evaluate import (
    REPEATED_TOKENS,
    ReplyFigures,
    TextFigures,
    held_out_replies,
    reply_figures,
)
from checkpoints.distil.prompts import HeldOutPrompt, held_out_prompts
from checkpoints.distil.recall import DISTANCES, recalled
from checkpoints.distil.replies import Decoder, Reply
from checkpoints.distil.served_figures import served_text_figures
from checkpoints.distil.student_decoder import StudentDecoder
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.teacher_decoder import TeacherDecoder
from checkpoints.distil.token_streams import KINDS, Streams
from pararnn_core.checkpoint import checkpoint_info, load_checkpoint

SAMPLES = 10
DECODER_LENGTH = 512


def sampled_prompts(prompts: Sequence[HeldOutPrompt], seed: int = 0) -> list[int]:
    """Return the places of SAMPLES prompts, drawn without a look at the replies."""
    return random.Random(seed).sample(range(len(prompts)), min(SAMPLES, len(prompts)))


@dataclass(frozen=True)
class Measured:
    """The figures of a card.

    about: machine, date and command; text: by kind of text, then by weight type, the served one first
    replies: of "student" and "teacher"; recall: (right, asked) by the tokens between
    samples: (prompt, reply)
    """

    about: str
    text: Mapping[str, Mapping[str, TextFigures]]
    replies: Mapping[str, ReplyFigures]
    recall: Mapping[int, tuple[int, int]]
    samples: Sequence[tuple[str, str]]


def measure(
    paths: Sequence[Path], teacher: Teacher, tokenizer: Tokenizer, streams: Streams, about: str
) -> Measured:
    """Measure checkpoints beside the teacher. paths: in int4, int8 and bfloat16, the served one first."""
    models = {checkpoint_info(path).config.weight_type: load_checkpoint(path) for path in paths}
    text = {kind: served_text_figures(models, teacher, streams[f"held_out-{kind}"]) for kind in KINDS}
    prompts = held_out_prompts()
    served = StudentDecoder(next(iter(models.values())))
    decoders: dict[str, Decoder] = {"student": served, "teacher": TeacherDecoder(teacher, DECODER_LENGTH)}
    made = {name: held_out_replies(decoder, tokenizer, prompts) for name, decoder in decoders.items()}
    counts = {name: reply_figures(some, tokenizer, prompts) for name, some in made.items()}
    prose = streams["held_out-prose"].ids.tolist()
    recall = {distance: recalled(served, tokenizer, prose, distance) for distance in DISTANCES}
    chosen = ((prompts[place].prompt, made["student"][place]) for place in sampled_prompts(prompts))
    samples = [(prompt, decoded(tokenizer, reply)) for prompt, reply in chosen]
    return Measured(about, text, counts, recall, samples)


def card_figures(figures: Measured) -> dict[str, Any]:
    """Return the figures as `render_card` reads them."""
    samples = [{"prompt": prompt, "reply": reply} for prompt, reply in figures.samples]
    recall = [[f"{tokens:,}", f"{right} of {asked}"] for tokens, (right, asked) in figures.recall.items()]
    return {
        "measured": figures.about,
        "quality": [*_quality(figures.text), *_counts(figures.replies)],
        "formats": list(_formats(figures.text)),
        "recall": recall,
        "samples": samples,
    }


def _quality(text: Mapping[str, Mapping[str, TextFigures]]) -> Iterator[list[str]]:
    for kind, by_type in text.items():
        figures = next(iter(by_type.values()))
        yield [f"KL to the teacher on held-out {kind}, nats a token", f"{figures.kl:.3f}", "0"]
        perplexities = (f"{math.exp(loss):.2f}" for loss in (figures.student, figures.teacher))
        yield [f"perplexity on held-out {kind}", *perplexities]


def _counts(replies: Mapping[str, ReplyFigures]) -> Iterator[list[str]]:
    ours, its = replies["student"], replies["teacher"]
    yield [
        f"replies with a repeated {REPEATED_TOKENS}-gram, of {ours.prompts}",
        f"{ours.repeated}",
        f"{its.repeated}",
    ]
    yield [f"replies that end by themselves, of {ours.prompts}", f"{ours.ended}", f"{its.ended}"]
    yield [f"right answers to facts, of {ours.facts}", f"{ours.right}", f"{its.right}"]


def _formats(text: Mapping[str, Mapping[str, TextFigures]]) -> Iterator[list[str]]:
    """Yield perplexities by weight type, and their increase over bfloat16."""
    for kind, by_type in text.items():
        base = by_type["bfloat16"].student
        row = [f"perplexity on held-out {kind}"]
        for name in ("bfloat16", "int8", "int4"):
            loss = by_type[name].student
            change = "" if name == "bfloat16" else f" ({math.exp(loss - base) - 1:+.1%})"
            row.append(f"{math.exp(loss):.2f}{change}")
        yield row


def decoded(tokenizer: Tokenizer, reply: Reply) -> str:
    """Return the text of a reply, with a mark where it was cut."""
    return str(tokenizer.decode(reply.tokens)) + ("" if reply.ended else " ...")
