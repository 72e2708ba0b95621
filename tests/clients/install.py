"""Each Python client has an environment of its own; those of Node share one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.clients import FOLDER, Client
from tests.rooms import ROOT

DEFAULT_FOLDER = ROOT / "build" / "clients"
_NODE_FILES = ("package.json", "package-lock.json")


def install(client: Client, folder: Path) -> None:
    """Install the pinned versions of a client with pip or npm; raises CalledProcessError."""
    home = _home(client, folder)
    home.mkdir(parents=True, exist_ok=True)
    if client.is_node:
        for name in _NODE_FILES:
            shutil.copy(FOLDER / "node" / name, home / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=home, check=True, stdout=sys.stderr)
        return
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(_python(home)), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--requirement", str(client.requirements)], check=True, stdout=sys.stderr)
    shutil.copy(client.requirements, home / client.requirements.name)


def is_installed(client: Client, folder: Path) -> bool:
    """Return True if these very versions are there."""
    pinned = FOLDER / "node" / "package-lock.json" if client.is_node else client.requirements
    copy = _home(client, folder) / pinned.name
    return copy.is_file() and copy.read_bytes() == pinned.read_bytes()


def command(client: Client, folder: Path) -> list[str]:
    """Return the command that runs a client's script with the packages that are installed for it."""
    home = _home(client, folder)
    if not client.is_node:
        return [str(_python(home)), str(client.path)]
    # Node looks for packages beside the script.
    for script in client.path.parent.glob("*.mjs"):
        shutil.copy(script, home / script.name)
    return [str(home / "node_modules" / ".bin" / "node"), str(home / client.script)]


def _python(home: Path) -> Path:
    return home / "bin" / "python"


def _home(client: Client, folder: Path) -> Path:
    return folder / ("node" if client.is_node else client.path.stem.removeprefix("with_"))
