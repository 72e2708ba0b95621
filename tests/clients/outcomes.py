"""The checks of a client: run, with what each has found."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.clients.clients import Client
from tests.clients.install import command
from tests.clients.scripted_server import Servers

SECONDS = 240


@dataclass(frozen=True)
class Outcome:
    """One check. error: why it failed, or None."""

    feature: str
    call: str
    error: str | None


def outcomes(client: Client, folder: Path, servers: Servers) -> list[Outcome]:
    """Run the script of a client that is installed in `folder`; raises if it dies."""
    done = subprocess.run(
        command(client, folder),
        env={**_environment(), **servers.environment()},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"feature"')]
    if done.returncode or not lines:
        raise RuntimeError(f"{client.path} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return [Outcome(**json.loads(line)) for line in lines]


def _environment() -> dict[str, str]:
    """Return this environment without what clients read from it and what they report to others."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))
    }
    silent = {"OPENAI_AGENTS_DISABLE_TRACING": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**kept, **silent, "NO_PROXY": "127.0.0.1,localhost"}
