"""The servers that clients are tried with: one that answers by a script, and one that soon answers 429."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.serve_process import KEY, serve_process
from tests.scripted_model import scripted_checkpoint
from tests.server.text.tool_templates import HERMES

MODEL = "scripted"
# A token with punctuation at both ends would be a mark, which no reply writes.
_MEMBERS = ('"city": "Bern", "utc": true, "note": "g', '"}')
_ASSISTANT = (
    "{%- if message.role == 'assistant' and not message.tool_calls and not tools %}"
    "{{- '<|assistant|>' + message.content + '<|eos|>\n' }}"
)
_OPENING = "{{- '<|user|>assistant\n' if tools and messages[-1].role != 'tool' else '<|assistant|>' }}"
# The last token of a prompt says whether a call is wanted.
_TEMPLATE = HERMES.replace(
    "{%- if message.role == 'user'", _ASSISTANT + "{%- elif message.role == 'user'"
).replace("{{- '<|user|>assistant\n' }}", _OPENING)
_NOON = ("<|assistant|>", "It is noon", ".", "<|eos|>")
_SCRIPTS = (
    # With tools the reply to a question is a text and a call.
    ("\n", "Let me look.", "\n\n", "<tool_call>"),
    ("</tool_call>", "<|eos|>"),
    # Any other reply is a text, or this object where a grammar asks for one. What comes twice weighs more.
    _NOON,
    _NOON,
    ("<|assistant|>", "{", *_MEMBERS, "<|eos|>"),
    # A string or an object that a grammar leaves free soon ends.
    (" ", '"', "g", '"'),
    ('"', "g"),
    ('"', "}"),
    ("e", "}"),
)


@dataclass(frozen=True)
class Servers:
    """Addresses. limited: it takes one request in a minute."""

    url: str
    limited_url: str

    def environment(self) -> dict[str, str]:
        """Return the variables that the scripts of clients read."""
        return {
            "SERVER_URL": self.url,
            "LIMITED_URL": self.limited_url,
            "SERVER_KEY": KEY,
            "SERVER_MODEL": MODEL,
        }


@contextmanager
def scripted_servers(folder: Path) -> Iterator[Servers]:
    """Start both with a checkpoint that is made in `folder`."""
    checkpoint = scripted_checkpoint(folder / MODEL, _SCRIPTS, _TEMPLATE)
    generation = checkpoint / "generation_config.json"
    # Not every client sends a temperature.
    values = json.loads(generation.read_text()) if generation.exists() else {}
    generation.write_text(json.dumps({**values, "temperature": 0.0}))
    keys = folder / "keys"
    keys.write_text(f"one:{KEY}\n")
    options = ("--keys-file", str(keys))
    with (
        serve_process(checkpoint, *options) as serve,
        serve_process(checkpoint, *options, "--key-requests-per-minute", "1") as limited,
    ):
        yield Servers(serve.url, limited.url)
