"""A checkpoint directory to a model and its tokenizer.

Imported before the rest of the server, which is imported while the checkpoint loads: it needs little itself.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from pararnn_core import ops
from pararnn_core.checkpoint.checkpoint_directory import CONFIG, config_fields
from pararnn_core.checkpoint.checkpoint_text import GENERATION_CONFIG, CheckpointText
from pararnn_core.checkpoint.serving_checkpoint import load_serving_model
from pararnn_core.models.base import ServingModel
from pararnn_core.models.pararnn.config import eos_token_ids
from pararnn_server.metrics.memory import release_free_memory
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.models.sampling_defaults import SamplingDefaults, sampling_defaults
from pararnn_server.settings.paths import printable
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.template_renderer import TemplateLimits, TemplateRenderer
from pararnn_server.text.tokenizer import Tokenizer, TokenizerError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in serving form and its tokenizer.

    names: what clients may call the model; answers carry the first.
    stop_token_ids: ends of a reply besides the EOS of the model's configuration.
    sampling_defaults: of requests that leave a value out.
    renderer: of the chat template, for as long as the model is served.
    """

    names: tuple[str, ...]
    model: ServingModel
    tokenizer: Tokenizer
    stop_token_ids: tuple[int, ...] = ()
    sampling_defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    renderer: TemplateRenderer = field(default_factory=TemplateRenderer)

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]


def load(settings: Settings, progress: Progress | None = None) -> Loaded:
    """progress: bytes read, bytes in all. Raises ConfigurationError, CheckpointError or TokenizerError."""
    # Torch's threads spin after their work and would take cores from the native ones.
    torch.set_num_threads(1)
    if settings.threads:
        ops.set_num_threads(settings.threads)
    folder = find_checkpoint(settings)
    renderer = TemplateRenderer(TemplateLimits(settings.template_seconds, settings.template_memory_bytes))
    if CheckpointText(folder).chat_templates():
        # It starts while the weights are read.
        renderer.warm()
    model = load_serving_model(
        folder,
        device=settings.device,
        dtype=None if settings.dtype == "auto" else settings.dtype,
        progress=progress,
    )
    tokenizer = Tokenizer(folder, model.config.vocab_size)
    # Loading leaves pages that the C allocator would keep for later.
    release_free_memory()
    names = settings.served_model_name or (printable(folder.resolve().name),)
    generation = CheckpointText(folder).fields(GENERATION_CONFIG)
    return Loaded(
        names,
        model,
        tokenizer,
        _further_ends(folder, generation, tokenizer, model.config.eos_token_id),
        _sampling_defaults(generation),
        renderer,
    )


def load_in_background(settings: Settings, progress: Progress | None = None) -> Future[Loaded]:
    """Call `load` on a thread of its own. Cancelling the future ends the thread at the next bytes."""
    future: Future[Loaded] = Future()

    def report(done: int, total: int) -> None:
        # This is called between two reads, so the thread ends soon after a cancellation.
        if future.cancelled():
            raise CancelledError
        if progress is not None:
            progress(done, total)

    def work() -> None:
        loaded, error = None, None
        try:
            loaded = load(settings, report)
        except Exception as failure:  # whatever it is, who awaits the future reports it
            error = failure
        # From here on it cannot be cancelled.
        if not future.set_running_or_notify_cancel():
            return
        if loaded is not None:
            future.set_result(loaded)
        else:
            future.set_exception(error)

    # No daemon: the interpreter must not end under a thread that is in native code.
    Thread(target=work, name="loader").start()
    return future


def _further_ends(
    folder: Path, generation: dict[str, Any], tokenizer: Tokenizer, eos_token_id: int | None
) -> tuple[int, ...]:
    """List the ids of config.json, generation_config.json and the tokenizer, without the model's own."""
    ids = {tokenizer.eos_id}
    for name, fields in ((CONFIG, config_fields(folder)), (GENERATION_CONFIG, generation)):
        try:
            ids.update(eos_token_ids(fields))
        except ValueError as error:
            raise TokenizerError(f"{name}: {error}") from None
    ends = sorted(token for token in ids - {None, eos_token_id} if token is not None)
    if ends and ends[-1] >= tokenizer.vocab_size:
        raise TokenizerError(f"eos_token_id must hold ids below {tokenizer.vocab_size}, not {ends[-1]}")
    return tuple(ends)


def _sampling_defaults(generation: dict[str, Any]) -> SamplingDefaults:
    try:
        return sampling_defaults(generation)
    except ValueError as error:
        raise TokenizerError(f"{GENERATION_CONFIG}: {error}") from error
