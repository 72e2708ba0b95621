"""Quantisation of a float checkpoint, with measured quality and a card."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pararnn_core.checkpoint.checkpoint import CheckpointInfo, checkpoint_info, load_checkpoint
from pararnn_core.checkpoint.checkpoint_directory import CARD
from pararnn_core.checkpoint.checkpoint_text import GENERATION_CONFIG, TOKENIZER, CheckpointText
from pararnn_core.checkpoint.checkpoint_writer import check_replaceable, save_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig, format_for
from pararnn_core.quantize.quality import measure_quality, num_predicted
from pararnn_core.quantize.quantize_calibration import calibration_windows
from pararnn_core.quantize.quantize_card import Quantized, render_card
from pararnn_core.quantize.quantize_model import quantize_model
from pararnn_core.storage.untrusted_file import CheckpointError, is_present, read_small_file

PathLike = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]

_MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class Text:
    """A text. documents: the token ids of each, read once; description: the text's name on the card."""

    documents: Iterable[Sequence[int]]
    description: str


def quantize_checkpoint(
    src: PathLike,
    dst: PathLike,
    bits: int = 8,
    group_size: int | None = None,
    calibration: Text | None = None,
    evaluation: Text | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Write the directory `dst`: `src` with integers for matrices, and the same tokenizer, defaults and card.

    bits: 8 or 4, for most matrices; group_size: inputs that share a scale, None is the default for these bits
    calibration: a text on which rounding compensates for its errors; None rounds each weight by itself
    evaluation: a text on all of which both models are measured; None measures nothing
    progress: progress(name of the task, done, in all)
    Memory besides the two models: 4 d bytes for each token of at most MAX_WINDOWS windows, and 48 I^2 for the
    I inputs of the widest matrix. That is 0.5 and 1.5 GB for the 1.4b preset. An evaluation needs 12 bytes a
    token. Raises ValueError for a wrong format or a text without tokens, and CheckpointError for a wrong
    directory, before anything is written.
    """
    source, target, matrix_format = Path(src), Path(dst), format_for(bits, group_size)
    info = _check(source, target)
    windows = None if calibration is None else calibration_windows(calibration.documents)
    documents = None if evaluation is None else _as_tensors(evaluation)
    method = "round" if windows is None else "gptq"
    quantization = QuantizationConfig.usual(method, matrix_format, info.config.tie_embeddings)
    model = load_checkpoint(source, pack=False)
    quantized = quantize_model(model, quantization, windows, _about("quantising", progress))
    # Once packed, the matrices are no longer integers and scales that can be counted.
    weight_bytes, bits_per_weight = _sizes(quantized)
    quality = None
    if documents is not None:
        # Packing frees the row-major copies. A packed model is still saved bit for bit.
        quality = measure_quality(model.pack(), quantized.pack(), documents, _about("measuring", progress))
    made = Quantized(
        source=_name(source),
        source_dtype=info.config.dtype,
        source_weight_bytes=info.weight_bytes,
        name=_name(target),
        config=quantized.config,
        bits_per_weight=bits_per_weight,
        weight_bytes=weight_bytes,
        calibrated_on=_calibrated_on(calibration, windows),
        measured_on=None if evaluation is None else evaluation.description,
        quality=quality,
    )
    _save(quantized, source, target, made)
    return made


def _name(folder: Path) -> str:
    """Return the folder's name for a card, with U+FFFD for bytes that are not UTF-8."""
    return folder.resolve().name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check(source: Path, target: Path) -> CheckpointInfo:
    """Check source and target before the work begins. Raises CheckpointError."""
    info = checkpoint_info(source)
    if info.config.quantization is not None:
        raise CheckpointError(source, "is quantised already: give the float checkpoint that it was made from")
    if target.resolve() == source.resolve():
        raise CheckpointError(target, "is the source itself: choose another path for the quantised one")
    # Quantising takes minutes, so a target that cannot be replaced is refused before.
    check_replaceable(target.resolve())
    return info


def _as_tensors(text: Text) -> list[Tensor]:
    documents = [torch.tensor(ids, dtype=torch.int64) for ids in text.documents]
    # It raises ValueError for a text without a token to predict.
    num_predicted(documents)
    return documents


def _about(what: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, what)


def _sizes(model: ParaRNNForCausalLM) -> tuple[int, float]:
    """Return the bytes of all tensors, and the bits per weight of a matrix, scales included."""
    matrices = [matrix for _, matrix in model.quantized_matrices()]
    weights = sum(matrix.out_features * matrix.in_features for matrix in matrices)
    nbytes = sum(tensor.nbytes for _, tensor in model.weights())
    return nbytes, 8 * sum(matrix.nbytes for matrix in matrices) / weights


def _calibrated_on(calibration: Text | None, windows: Tensor | None) -> str | None:
    if calibration is None or windows is None:
        return None
    return f"{len(windows)} windows of {windows.shape[1]} tokens from {calibration.description}"


def _save(model: ParaRNNForCausalLM, source: Path, target: Path, made: Quantized) -> None:
    card, text, before = source / CARD, CheckpointText(source), None
    if is_present(card):
        before = read_small_file(card, _MAX_CARD_BYTES, within=source).decode(errors="replace")
    save_checkpoint(
        model,
        target,
        tokenizer=source if text.has(TOKENIZER) else None,
        card=render_card(made, before),
        generation=text.fields(GENERATION_CONFIG),
    )
