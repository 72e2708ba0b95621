"""The table of clients and features, as docs/clients.md shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.clients.clients import FOLDER, Client
from tests.clients.features import FEATURES
from tests.clients.outcomes import Outcome

BEGIN = "<!-- begin of the table: `make clients ARGS=--write` writes it -->"
END = "<!-- end of the table -->"


def page(found: Mapping[Client, Sequence[Outcome]]) -> str:
    """Return the table, and below it the calls that each client was tried with."""
    return "\n\n".join([_table(found), *(_calls(client, each) for client, each in found.items())])


def with_page(document: str, found: Mapping[Client, Sequence[Outcome]]) -> str:
    """Return the document with its table replaced."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{page(found)}\n\n{END}{after}"


def row(client: Client, found: Sequence[Outcome]) -> str:
    """Return a client's line: for each feature how many checks passed, or `-` if it has no such feature."""
    cells = [_cell([outcome for outcome in found if outcome.feature == feature]) for feature in FEATURES]
    return f"| {' | '.join([f'**{client.name}**', *cells])} |"


def versions(client: Client) -> dict[str, str]:
    """Return the version of each package of a client, as it is pinned."""
    if client.is_node:
        pinned = json.loads((FOLDER / "node" / "package.json").read_text())["dependencies"]
    else:
        lines = client.requirements.read_text().split()
        pinned = dict(line.split("==") for line in lines)
        pinned = {name.partition("[")[0]: version for name, version in pinned.items()}
    return {name: pinned[name] for name in client.packages}


def _table(found: Mapping[Client, Sequence[Outcome]]) -> str:
    head = f"| {' | '.join(['', *FEATURES])} |\n|{'---|' * (len(FEATURES) + 1)}"
    return "\n".join([head, *(row(client, each) for client, each in found.items())])


def _cell(found: Sequence[Outcome]) -> str:
    if not found:
        return "-"
    passed = sum(outcome.error is None for outcome in found)
    return "yes" if passed == len(found) else f"{passed} of {len(found)}"


def _calls(client: Client, found: Sequence[Outcome]) -> str:
    names = ", ".join(f"{name} {version}" for name, version in versions(client).items())
    lines = [f"**{client.name}**: {names}", ""]
    for feature in FEATURES:
        calls = [f"`{outcome.call}`" for outcome in found if outcome.feature == feature]
        if calls:
            lines.append(f"- {feature}: {'; '.join(calls)}")
    return "\n".join(lines)
