"""Tools and the rules of a request for calling them, in the one form that every route maps its wire to.

A route turns its own fields into a `ToolUse`, calls and results into messages of `text/conversation.py`, and
the events of `tools/call_parser.py` into its own answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ToolMode = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a client can call for the model.

    function: its name, description, parameters (JSON Schema) and strict, as templates are given them. A
        client's own order is kept, and what it left out is not there.
    """

    function: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        name: str,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        strict: bool | None = None,
    ) -> Tool:
        """Return a tool of a wire whose tools have another shape."""
        fields = {"name": name, "description": description, "parameters": parameters, "strict": strict}
        return cls({key: value for key, value in fields.items() if value is not None})

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        return str(self.function["name"])

    @property
    def parameters(self) -> Mapping[str, Any] | None:
        """The JSON Schema of its arguments; None: it takes none."""
        given: Mapping[str, Any] | None = self.function.get("parameters")
        return given

    @property
    def is_strict(self) -> bool:
        """True if arguments must follow the schema, so that a schema that cannot be enforced is an error."""
        return bool(self.function.get("strict"))

    def for_template(self) -> dict[str, Any]:
        """Return the tool as chat templates are given it."""
        return {"type": "function", "function": dict(self.function)}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Rules of one request.

    tools: all that the model is shown. mode: none: it may call none; required: it must call one.
    callable: those that it may call. parallel: False: at most one call in a reply.
    place: of a function within a tool of the wire, as errors name it.
    """

    tools: Sequence[Tool] = ()
    mode: ToolMode = "none"
    callable: Sequence[Tool] = ()
    parallel: bool = True
    place: str = "function."


NO_TOOLS = ToolUse()


def digest_of(tools: Sequence[Tool]) -> str:
    """Return a digest of tools as templates are given them; "" for none."""
    if not tools:
        return ""
    text = json.dumps([tool.for_template() for tool in tools], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
