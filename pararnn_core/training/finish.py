"""The end of a run: a checkpoint that serves, with its measurements on a card."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pararnn_core.checkpoint.checkpoint import load_checkpoint
from pararnn_core.checkpoint.checkpoint_directory import CARD
from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.training.card import CURVE_FILE, CardFacts, render_card
from pararnn_core.training.perplexity import Perplexity, measure_perplexity
from pararnn_core.training.prepare import TOKENIZER_FOLDER, Prepared
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.text_files import Progress

TEMPERATURE = 0.8
TOP_P = 0.95


def has_curves() -> bool:
    """Return True if matplotlib is installed, which draws learning curves."""
    return find_spec("matplotlib") is not None


def finish(run: Prepared, folder: RunFolder, out: Path, progress: Progress) -> Perplexity:
    """Write the checkpoint, measure the weights as saved, and add card and curve. Raises CheckpointError."""
    model = ParaRNNForCausalLM(run.config)
    model.load_state_dict(folder.load_state()["model"])
    defaults = {"temperature": TEMPERATURE, "top_p": TOP_P}
    save_checkpoint(model, out, folder.path / TOKENIZER_FOLDER, generation=defaults)
    total = run.held_out_bytes
    quality = measure_perplexity(
        load_checkpoint(out), _documents(run), lambda done, _: progress("measuring", done, total)
    )
    rows = folder.rows()
    curve = _curve(rows, run, quality)
    if curve is not None:
        (out / CURVE_FILE).write_bytes(curve)
    facts = CardFacts(out.resolve().name, run.config, run.plan, run.facts, len(run.training), rows, quality)
    (out / CARD).write_text(render_card(facts, with_curve=curve is not None))
    return quality


def _documents(run: Prepared) -> Iterator[list[tuple[list[int], int]]]:
    """Yield the held-out documents as measure_perplexity takes them."""
    start, share = 0, run.held_out_bytes / max(len(run.held_out), 1)
    for length in run.lengths:
        ids = run.held_out[start : start + length].tolist()
        # Only the sum of the bytes is known. Each document gets its share of it.
        yield [(ids, round((start + length) * share) - round(start * share))]
        start += length


def _curve(rows: Sequence[dict[str, float]], run: Prepared, quality: Perplexity) -> bytes | None:
    """Return the learning curve as PNG; None without matplotlib."""
    if not rows or not has_curves():
        return None
    drawing: Any = import_module("pararnn_core.training.curve")
    picture = io.BytesIO()
    drawing.save_curve(rows, {"held out, whole documents": quality.bits_per_byte}, run.bits_per_nat, picture)
    return picture.getvalue()
