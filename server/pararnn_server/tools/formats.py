"""The table of formats of calls, and the search for the one that a chat template uses."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.hermes import HERMES
from pararnn_server.tools.mistral import MISTRAL, MISTRAL_LIST
from pararnn_server.tools.plain_json import LLAMA_JSON, PLAIN_JSON

# Those with marks first: the text of a call without marks is a part of theirs.
_ALL = (HERMES, MISTRAL_LIST, MISTRAL, LLAMA_JSON, PLAIN_JSON)
FORMATS: Final = MappingProxyType({each.name: each for each in _ALL})
FormatName = Literal["auto", "hermes", "mistral_list", "mistral", "llama_json", "json"]


def format_of(prompt: str, name: str, arguments: str) -> CallFormat | None:
    """Return the format of the call with this name and these arguments in a prompt; None: it is not known."""
    return next((each for each in _ALL if each.written(name, arguments) in prompt), None)
