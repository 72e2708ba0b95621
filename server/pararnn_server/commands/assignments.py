"""Options of the form FIELD=VALUE."""

from __future__ import annotations

import json
from typing import Any

from pararnn_server.commands.failure import CommandFailed


def assignment(text: str) -> tuple[str, Any]:
    """Return name and value of "name=value": the value as JSON, or as plain text where it is none."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandFailed(f"--set {text}: write it as field=value")
    try:
        # So that 2 becomes a number and null nothing, without a type for each field.
        return name, json.loads(value)
    except ValueError:
        return name, value
