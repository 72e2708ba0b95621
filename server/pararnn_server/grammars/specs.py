"""Specifications of a reply: JSON, JSON of a schema, a match of a regex, one of some texts, a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark, is_lark_syntax

from pararnn_server.grammars.grammar_syntax import check_gbnf_tokens, check_lark_attributes

# Converting GBNF takes time with the square of its rules.
MAX_GBNF_CHARS = 16_384
MAX_GBNF_RULES = 500

# One layout, so that the text between two values is known and costs no draw. Free whitespace would also let
# a model write spaces for ever.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""

    @property
    def source(self) -> str:
        """The grammar as llguidance reads it."""
        return JsonSchema({"type": "object"}).source


@dataclass(frozen=True, slots=True, eq=False)
class JsonSchema:
    """JSON that is valid by a schema (2020-12), its properties in the schema's order."""

    schema: Mapping[str, Any]

    @property
    def source(self) -> str:
        """The grammar as llguidance reads it."""
        return _dumped({"grammars": [{"json_schema": laid_out(self.schema)}]})


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that the whole of a regular expression matches, in the syntax of Rust's regex crate."""

    pattern: str

    @property
    def source(self) -> str:
        """The grammar as llguidance reads it."""
        source: str = LLMatcher.grammar_from_regex(self.pattern)
        return source


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some texts."""

    texts: Sequence[str]

    @property
    def source(self) -> str:
        """The grammar as llguidance reads it."""
        # One terminal: rules of thousands of alternatives would be slow.
        return _dumped({"grammars": [{"lark_grammar": f"start: TEXT\nTEXT: {_either(self.texts)}"}]})


@dataclass(frozen=True, slots=True)
class Lark:
    """A sentence of a grammar in llguidance's variant of Lark; its first rule is `start`."""

    grammar: str

    @property
    def source(self) -> str:
        """The grammar as llguidance reads it."""
        return _dumped({"grammars": [{"lark_grammar": self.grammar}]})


@dataclass(frozen=True, slots=True)
class Grammar:
    """A sentence of a grammar in Lark, or in GBNF as llama.cpp has it."""

    text: str

    def as_lark(self) -> Lark:
        """Return the same in Lark. Raises ValueError, which says what is wrong with it."""
        if is_lark_syntax(self.text):
            check_lark_attributes(self.text)
            return Lark(self.text)
        if len(self.text) > MAX_GBNF_CHARS or self.text.count("::=") > MAX_GBNF_RULES:
            message = f"at most {MAX_GBNF_CHARS} characters and {MAX_GBNF_RULES} rules of GBNF; send Lark"
            raise ValueError(message)
        check_gbnf_tokens(self.text)
        try:
            return Lark(gbnf_to_lark(self.text))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        except Exception as error:  # the converter raises nothing more precise
            raise ValueError(f"neither Lark nor GBNF: {error}") from error


CompiledSpec = JsonObject | JsonSchema | Regex | Choice | Lark
Spec = CompiledSpec | Grammar


def laid_out(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with the layout of its JSON: one space after each comma and colon, no other."""
    return {**schema, "x-guidance": _LAYOUT}


def lark_json(schema: Mapping[str, Any]) -> str:
    """Return a Lark expression for JSON of a schema, to be the whole right side of a rule."""
    return f"%json {_dumped(laid_out(schema))}"


def lark_text(text: str) -> str:
    """Return a Lark expression for a text."""
    return _dumped(text)


def lark_token(token_id: int) -> str:
    """Return a Lark expression for one token, such as a special one. It cannot be part of a terminal."""
    return f"<[{token_id}]>"


def _either(texts: Sequence[str]) -> str:
    return " | ".join(map(lark_text, texts))


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
