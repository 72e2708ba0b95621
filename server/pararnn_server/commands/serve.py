"""`pararnn serve`: settings in, a running server, and what a person needs to use it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import torch
import typer

from pararnn_core import ops
from pararnn_core.checkpoint.serving_checkpoint import serving_info
from pararnn_core.models.base import ServingConfig
from pararnn_server.commands.failure import one_line_errors
from pararnn_server.commands.options import takes_settings
from pararnn_server.commands.progress import ByteProgress
from pararnn_server.metrics.memory import resident_memory_bytes
from pararnn_server.metrics.units import as_bytes, as_count
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.models.loading import load_in_background
from pararnn_server.sessions.stores.open_store import store_file
from pararnn_server.settings.server_settings import Settings
from pararnn_server.settings.store_address import shown_store

if TYPE_CHECKING:
    from pararnn_server.models.served_model import ServedModel


@one_line_errors()
@takes_settings
def serve(settings: Settings) -> None:
    """Serve a model over HTTP: OpenAI-compatible completions and chat, and sessions of constant size.

    Without options it serves the chat model that `fetch-model` has fetched, else a small one that ships with
    the program, to this machine only.
    """
    path = find_checkpoint(settings)
    # Shown before loading, as the weights will be.
    config = serving_info(path, None if settings.dtype == "auto" else settings.dtype).config
    typer.echo(f"loading {path}: {described(config)}", err=True)

    def tell(served: ServedModel, url: str) -> None:
        typer.echo(welcome(served, config, url, settings))

    with ByteProgress("loading") as progress:
        loading = load_in_background(settings, progress)
        try:
            # The web framework takes a second to import, so it is imported while the checkpoint loads.
            import_module("pararnn_server.app.process").run(settings, loading, tell)
        finally:
            # The loader's thread is no daemon: not cancelled, it would read to the end first.
            loading.cancel()


def described(config: ServingConfig) -> str:
    """Return the architecture, size and weight type of a model."""
    return f"{config.architecture}, {as_count(config.num_parameters)} parameters, {config.weight_type}"


def welcome(served: ServedModel, config: ServingConfig, url: str, settings: Settings) -> str:
    """Return the lines that name the model, its cost, and a first request to try."""
    num_slots = served.engine.stats().state_slots_total
    return f"""
  {served.name} is served on {url}
    model     {described(config)}
    memory    {memory(served, num_slots)}
    sessions  {as_bytes(served.state_bytes)} of state each, whatever their length
              {num_slots} run at once; up to {settings.max_sessions:,} are kept, {kept(settings)}
    machine   {machine(settings)}

  Try it:
    {example(url, settings, chats=served.chat.template is not None)}
"""


def kept(settings: Settings) -> str:
    """Return the place of the sessions in words, without the password of an address."""
    if settings.store == "memory":
        return "in memory only"
    if settings.store == "sqlite":
        return f"in {store_file(settings)}"
    return f"in {shown_store(settings.store)}"


def machine(settings: Settings) -> str:
    """Return the device, threads and instruction set in words."""
    if settings.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{ops.num_threads()} threads, instruction set level {ops.isa_level()}"


def memory(served: ServedModel, num_slots: int) -> str:
    """Return the resident memory in words, with the parts of weights and running sessions."""
    weights, slots = as_bytes(served.weight_bytes), as_bytes(num_slots * served.state_bytes)
    resident = resident_memory_bytes()
    parts = f"{weights} of weights, {slots} for sessions that run"
    return parts if resident is None else f"{as_bytes(resident)} resident: {parts}"


def example(url: str, settings: Settings, *, chats: bool) -> str:
    """A curl command that streams an answer of a chat or a completion."""
    # The address that means all of them is none to connect to.
    here = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    keyed = settings.api_keys is not None or settings.keys_file is not None
    key = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    asked = '"messages": [{"role": "user", "content": "What is the capital of France?"}]'
    path, prompt = ("chat/completions", asked) if chats else ("completions", '"prompt": "def fibonacci(n):"')
    body = f'{{{prompt}, "max_tokens": 100, "stream": true}}'
    return f"curl -N {here}/v1/{path}{key} -H 'Content-Type: application/json' -d '{body}'"
