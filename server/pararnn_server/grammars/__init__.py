"""Grammars that a reply must follow: JSON schemas, regular expressions, choices, Lark."""
