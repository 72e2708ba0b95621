"""The wheel needs nothing that is on no package index."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pararnn_core", "server/pararnn_server", "clients/python/pararnn_client")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel as for a release, without the native library, whose compilation takes minutes."""
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    settings = ["--config-settings=wheel.cmake=false", "--config-settings=build-dir="]
    command = [sys.executable, "-m", "pip", "wheel", *options, *settings, str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    [found] = target.glob("*.whl")
    return found


def test_every_module_of_server_core_and_client_is_in_one_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for package in map(Path, PACKAGES):
        modules = [path.relative_to((ROOT / package).parent) for path in (ROOT / package).rglob("*.py")]
        assert [str(each) for each in modules if each.as_posix() not in held] == []


def test_the_wheel_asks_for_no_package_of_this_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        entry_points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert [each for each in metadata.get_all("Requires-Dist", []) if "pararnn" in each] == []
    assert "pararnn = pararnn_server.__main__:main" in entry_points


def test_client_and_command_start_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Its own modules are those of the wheel; packages of others are the installed ones."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        # An editable install puts a finder of its own before the path.
        "from importlib.machinery import PathFinder; sys.meta_path.insert(0, PathFinder);"
        "import pararnn_client, pararnn_server;"
        "print(pararnn_client.__file__, pararnn_server.__file__);"
        "from pararnn_server.commands.cli import build_app; build_app(['sessions'])(['sessions', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].count(str(tmp_path)) == 2
    assert "export" in done.stdout
