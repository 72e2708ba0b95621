"""The subcommands that ask a running server; each takes the parsed options."""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from pararnn_server.bench.machine import Machine

from checkpoints.distil.card_figures import sampled_prompts
from checkpoints.distil.evaluate import MAX_REPLY_TOKENS
from checkpoints.distil.prompts import held_out_prompts
from checkpoints.distil.served_replies import (
    SAMPLING,
    ServedReply,
    counts_line,
    reply_counts,
    served_replies,
)

SAMPLING_FIELDS = ("temperature", "top_p", "repetition_penalty")


def ask(options: argparse.Namespace) -> None:
    """Print the first replies to prompts that the seed draws; with --figures, put them into the card's."""
    every = held_out_prompts()
    prompts = [every[place] for place in sampled_prompts(every, options.seed)]
    fields = {name: getattr(options, name) for name in SAMPLING_FIELDS if getattr(options, name) is not None}
    made = served_replies(options.url, prompts, options.seed, fields, options.api_key)
    drawn = _drawn(made[0].model, options.seed, fields)
    print(drawn)
    for reply in made:
        print(f"\n> {reply.prompt.prompt}\n{_shown(reply)}")
    print(f"\n{counts_line(reply_counts(made))}")
    if options.figures is not None:
        samples = [{"prompt": reply.prompt.prompt, "reply": _shown(reply)} for reply in made]
        _change_figures(options.figures, {"samples": samples, "samples_drawn": drawn})


def sampling(options: argparse.Namespace) -> None:
    """Count repetitions, ends and right facts over all held-out prompts by settings of the sampler."""
    machine, rows, prompts = Machine.here(), [], held_out_prompts()
    for name, fields in SAMPLING:
        counts = reply_counts(served_replies(options.url, prompts, options.seed, fields, options.api_key))
        print(f"{name}: {counts_line(counts)}", flush=True)
        rows.append([name, *(f"{number}" for number in (counts.repeated, counts.ended, counts.right))])
    about = (
        f"Measured on {machine.cpu}, {datetime.date.today()}, by `python -m checkpoints.distil sampling`,"
        f" replies of at most {MAX_REPLY_TOKENS} tokens, seeds from {options.seed} on."
    )
    if options.figures is not None:
        _change_figures(options.figures, {"sampling": rows, "sampling_measured": about})


def _drawn(model: str, seed: int, fields: dict[str, float]) -> str:
    given = ", ".join(f"{name} {value:g}" for name, value in fields.items()) or "the model's own settings"
    return (
        f"First replies of {model}, as they came, to the prompts that seed {seed} draws:"
        f" {given}, at most {MAX_REPLY_TOKENS} tokens."
        f" Made by `python -m checkpoints.distil ask --seed {seed}`."
    )


def _shown(reply: ServedReply) -> str:
    """Return the text, with a mark where it was cut."""
    return reply.text + ("" if reply.ended else " ...")


def _change_figures(file: Path, changes: dict[str, Any]) -> None:
    figures = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file)
