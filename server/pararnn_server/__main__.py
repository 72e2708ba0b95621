"""The script `pararnn`, and `python -m pararnn_server`."""

from __future__ import annotations

import sys
from importlib import import_module

from pararnn_server.commands.early_signals import end_on_interrupt, end_on_signals


def main() -> None:
    """Decide about signals first: what is imported after that takes seconds, in which Ctrl-C is no fault."""
    if sys.argv[1:2] == ["serve"]:
        end_on_signals()
    else:
        end_on_interrupt()
    import_module("pararnn_server.commands.cli").main()


if __name__ == "__main__":
    main()
