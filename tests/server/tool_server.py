"""Servers of models that call tools: one with random weights, one that writes scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.scripted_model import scripted_checkpoint
from tests.server.http_server import HttpServer, serving
from tests.server.text.tool_templates import HERMES

CHAT = "/v1/chat/completions"
QUESTION = {"role": "user", "content": "What time is it in Bern?"}
GET_TIME: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Return the time.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Bern", "Oslo"]}, "utc": {"type": "boolean"}},
            "required": ["city", "utc"],
            "additionalProperties": False,
        },
    },
}
ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "null"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
TOOLS = [GET_TIME, ADD]
SCRIPTED = HERMES.replace(
    "{{- '<|user|>assistant\n' }}{%- endif %}",
    "{{- '<|assistant|>' if messages[-1].role == 'tool' else '<|user|>assistant\n' }}{%- endif %}",
)
SCRIPTS = (
    ("\n", "Let me look.", "\n\n", "<tool_call>"),
    # Under the grammar this is drawn only where it may come: as the beginning of a name.
    ('"', "g"),
    ("</tool_call>", "<|eos|>"),
    ("<|assistant|>", "It is noon.", "<|eos|>"),
)
"""The reply to a question is a text and a call, and the reply to a result is a text."""


@cache
def random_model(template: str = HERMES) -> Loaded:
    folder = Path(mkdtemp())
    return load(Settings(checkpoint=str(tiny_checkpoint(folder / "random", chat_template=template))))


@cache
def scripted_model() -> Loaded:
    folder = Path(mkdtemp())
    return load(Settings(checkpoint=str(scripted_checkpoint(folder / "scripted", SCRIPTS, SCRIPTED))))


@contextmanager
def scripted_server(**settings: Any) -> Iterator[HttpServer]:
    with serving(scripted_model(), **settings) as server:
        yield server


@contextmanager
def random_server(template: str = HERMES, **settings: Any) -> Iterator[HttpServer]:
    with serving(random_model(template), **settings) as server:
        yield server
