"""Replies that may or must call tools, as a grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pararnn_server.grammars.specs import Lark, lark_json, lark_text, lark_token
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.tool import ToolUse

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
NO_MEMBERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
# They say nothing about what is valid, and descriptions are most of a schema's text.
_ANNOTATIONS = frozenset(("description", "title", "examples", "default", "$comment"))
# Their members have names of a user's choice.
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))


def tool_grammar(
    use: ToolUse,
    form: CallFormat,
    control_ids: Mapping[str, int],
    schemas: Sequence[Mapping[str, Any]],
    reply_schema: Mapping[str, Any] | None = None,
) -> Lark:
    """Return the grammar of a reply.

    control_ids: tokens that a text cannot spell, of the tokenizer.
    schemas: of the arguments of each tool that may be called.
    reply_schema: of a reply that calls no tool; None: it may be any text that opens no call.
    """
    calls = _Calls(use, form, control_ids)
    if reply_schema is not None:
        text = [f"text: {lark_json(reply_schema)}"]
    else:
        text = [f"text: TEXT\nTEXT: {_no_call(form.mark)}"]
    if use.mode == "none":
        return Lark("\n".join(["start: text", *text]))
    if use.mode == "required":
        return Lark("\n".join(["start: calls", *calls.rules(schemas)]))
    if reply_schema is None and form.mark and form.mark not in control_ids:
        # One terminal holds the text and the mark: a lexer would read the mark as more of the text.
        mark = f"marked[lazy]: /(?s:.*){_escaped(form.mark)}/"
        return Lark("\n".join(["start: text | marked unmarked", mark, *text, *calls.rules(schemas)]))
    start = "start: text | calls" if reply_schema is not None or not form.mark else "start: text calls?"
    return Lark("\n".join([start, *text, *calls.rules(schemas)]))


def schema_of(parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the schema of arguments without annotations. Raises ValueError if they are no object."""
    if parameters is None:
        return NO_MEMBERS
    if parameters.get("type", "object") != "object":
        raise ValueError("the type of the whole must be 'object'")
    return {"type": "object", **_bare(parameters)}


def _bare(schema: Any) -> Any:
    """Return a schema without annotations."""
    if isinstance(schema, list):
        return [_bare(member) for member in schema]
    if not isinstance(schema, Mapping):
        return schema
    bare = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            bare[key] = {name: _bare(member) for name, member in value.items()}
        elif key in ("enum", "const"):
            bare[key] = value
        elif key not in _ANNOTATIONS:
            bare[key] = _bare(value)
    return bare


class _Calls:
    """Rules of the calls in one format."""

    def __init__(self, use: ToolUse, form: CallFormat, control_ids: Mapping[str, int]) -> None:
        self._use = use
        self._form = form
        self._control_ids = {name: i for name, i in control_ids.items() if any(name in t for t in form.texts)}

    def rules(self, schemas: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the rules `calls`, `unmarked` (all of `calls` behind the mark), and what they need."""
        form, literal = self._form, self._literal
        more = ""
        if self._use.parallel and form.separator is not None:
            more = f"({literal(form.separator + form.head)} call)*"
        rules = [
            f"calls: {literal(form.opening)} call {more} {literal(form.suffix)}",
            f"unmarked: {literal(form.opening[len(form.mark) :])} call {more} {literal(form.suffix)}",
            f"call: function {literal(form.tail)}",
            "function: " + " | ".join(f"function_{i}" for i in range(len(schemas))),
        ]
        for i, (tool, schema) in enumerate(zip(self._use.callable, schemas, strict=True)):
            rules += [
                f"function_{i}: {literal(tool.name + form.middle)} arguments_{i}",
                f"arguments_{i}: {lark_json(schema)}",
            ]
        return rules

    def _literal(self, text: str) -> str:
        """Return an expression for a text of the format, in which control tokens are tokens."""
        if not self._control_ids:
            return lark_text(text) if text else ""
        names = sorted(self._control_ids, key=len, reverse=True)
        pieces = re.split(f"({'|'.join(map(re.escape, names))})", text)
        ids = self._control_ids
        return " ".join(
            lark_token(ids[piece]) if piece in ids else lark_text(piece) for piece in pieces if piece
        )


def _no_call(mark: str) -> str:
    """Return a terminal of the texts that open no call."""
    if not mark:
        return "/([^{](?s:.*))?/"
    return f"/(?s:.*)/ & ~/(?s:.*){_escaped(mark)}(?s:.*)/"


def _escaped(mark: str) -> str:
    return re.escape(mark).replace("/", r"\/")
