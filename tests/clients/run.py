"""Run clients against real servers and print the table: `python -m tests.clients.run [--write] [NAME ...]`.

The packages are installed below `build/clients` first; `--folder` names another place.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.clients.clients import CLIENTS, Client
from tests.clients.install import DEFAULT_FOLDER, install, is_installed
from tests.clients.outcomes import Outcome, outcomes
from tests.clients.scripted_server import Servers, scripted_servers
from tests.clients.table import page, with_page
from tests.rooms import ROOT

PAGE = ROOT / "docs" / "clients.md"


def main() -> int:
    """Return 0 if each check of each client passed."""
    options = _parse()
    chosen = [client for client in CLIENTS if not options.names or client.name in options.names]
    for client in chosen:
        if not is_installed(client, options.folder):
            print(f"==> installing {client.name}", file=sys.stderr)
            install(client, options.folder)
    with TemporaryDirectory() as folder, scripted_servers(Path(folder)) as servers:
        found = {client: _run(client, options.folder, servers) for client in chosen}
    print(page(found))
    failed = sum(outcome.error is not None for each in found.values() for outcome in each)
    if options.write and not failed:
        PAGE.write_text(with_page(PAGE.read_text(), found))
    return 1 if failed else 0


def _run(client: Client, folder: Path, servers: Servers) -> list[Outcome]:
    print(f"==> {client.name}", file=sys.stderr)
    found = outcomes(client, folder, servers)
    for outcome in found:
        if outcome.error is not None:
            print(f"{outcome.feature}: {outcome.call}\n{outcome.error}", file=sys.stderr)
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="clients to run; all if none is named")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where packages are installed")
    parser.add_argument(
        "--write", action="store_true", help="write the table to docs/clients.md if all passed"
    )
    options = parser.parse_args()
    unknown = set(options.names) - {client.name for client in CLIENTS}
    if unknown or (options.write and options.names):
        parser.error(f"no client is named {sorted(unknown)}" if unknown else "--write takes no names")
    return options


if __name__ == "__main__":
    sys.exit(main())
