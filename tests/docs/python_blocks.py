"""The Python of a document, run in order in one namespace."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from tests.docs.markdown_blocks import Example


def run_python(found: Sequence[Example], addresses: Mapping[str, str]) -> list[str]:
    """Run the blocks and return their outputs. An error names the line of the document.

    addresses: in the document -> of a server that runs
    """
    namespace: dict[str, Any] = {"__name__": "document"}
    outputs = []
    for example in found:
        code = example.command.text
        for written, real in addresses.items():
            code = code.replace(written, real)
        printed = io.StringIO()
        with redirect_stdout(printed):
            lines_before = "\n" * (example.command.line - 1)
            exec(compile(lines_before + code, "document", "exec"), namespace)
        outputs.append(printed.getvalue())
    return outputs
