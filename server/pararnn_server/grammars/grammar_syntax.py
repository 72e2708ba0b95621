"""Words of a grammar's text that would be read otherwise than they were meant."""

from __future__ import annotations

import re

# Texts, patterns and comments, in which no word has a meaning.
_LARK_QUOTED = re.compile(r'//[^\n]*|"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/')
# Of a rule's name or of a terminal's, as in `text[temperature=0.5]: /.*/`.
_ATTRIBUTES = re.compile(r"\[[^\[\]:]*\]\s*:")
_REFUSED = re.compile(r"\b(?:temperature|capture)\b")
# The brackets of `<[7]>` are no set of characters.
_GBNF_QUOTED = re.compile(r'#[^\n]*|"(?:\\.|[^"\\\n])*"|(?<!<)\[(?:\\.|[^\]\\\n])*\]')
_GBNF_TOKEN = re.compile(r"!?<[^<>\s]*>")


def check_lark_attributes(grammar: str) -> None:
    """Raise ValueError for an attribute that llguidance takes and that nothing here honours."""
    # In two searches: one of both would take time with the square of a hostile text.
    for attributes in _ATTRIBUTES.findall(_LARK_QUOTED.sub('""', grammar)):
        if found := _REFUSED.search(attributes):
            instead = "set that of the request" if found[0] == "temperature" else "read the reply's text"
            raise ValueError(f"the attribute {found[0]} is not supported; leave it out and {instead}")


def check_gbnf_tokens(grammar: str) -> None:
    """Raise ValueError for a token that GBNF names by its id or its spelling."""
    if found := _GBNF_TOKEN.search(_GBNF_QUOTED.sub('""', grammar)):
        message = f"the token {found[0]} in GBNF is not supported; send the grammar in Lark"
        raise ValueError(f"{message}, which has <[7]> for an id and <[^7]> for any other")
