"""The JavaScript client in Node: its rules, its calls of a real server, its types and its package."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.rooms import ROOT
from tests.server.http_server import HttpServer, serving

HERE = Path(__file__).parent
PACKAGE = ROOT / "clients/js"
KEY = "0123456789abcdef"
TYPESCRIPT = ROOT / "clients/page/node_modules/.bin/tsc"
OLDEST_NODE = (20, 3)


def node() -> str:
    """Return the command of a Node that is new enough; else the test is skipped."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs node 20 or newer")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if version < OLDEST_NODE:
        pytest.skip(f"node is {said.strip()}, and the client needs 20.3")
    return found


def run(*command: str, **environment: str) -> str:
    """Return the output of a command that succeeds."""
    done = subprocess.run(
        command,
        cwd=PACKAGE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("served") / "tiny")
    loaded = load(Settings(checkpoint=str(checkpoint)))
    with serving(loaded, api_keys=f"me:{KEY}") as running:
        yield running


@pytest.mark.parametrize("name", ["client", "retries", "sse"])
def test_the_client_keeps_its_rules(name: str) -> None:
    run(node(), "--test", str(HERE / f"{name}.test.mjs"))


def test_the_client_and_a_real_server_understand_each_other(request: pytest.FixtureRequest) -> None:
    command = node()
    url = request.getfixturevalue("server").url
    said = run(
        command,
        "--test",
        "--test-reporter=tap",
        str(HERE / "against_server.test.mjs"),
        SERVER_URL=url,
        SERVER_KEY=KEY,
    )
    assert re.search(r"^# skipped 0$", said, re.MULTILINE), said


def test_the_example_of_the_readme_runs(request: pytest.FixtureRequest) -> None:
    command = node()
    [example] = re.findall(r"```js\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    url = request.getfixturevalue("server").url
    keyed = example.replace("'http://127.0.0.1:8000'", f"'{url}', apiKey: '{KEY}'")
    # The package finds itself by its name.
    said = run(command, "--input-type=module", "--eval", keyed)
    assert re.search(r"\d+ tokens in \d+ bytes$", said.strip())


def test_the_committed_types_are_those_of_the_source(tmp_path: Path) -> None:
    if not TYPESCRIPT.exists():
        pytest.skip("run npm ci in clients/page")
    run(node(), str(TYPESCRIPT.resolve()), "--project", str(PACKAGE), "--outDir", str(tmp_path))
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in (PACKAGE / "types").iterdir()}, "run npm run types in clients/js"
    _, stale, missing = filecmp.cmpfiles(tmp_path, PACKAGE / "types", made, shallow=False)
    assert stale + missing == [], "run npm run types in clients/js"


def test_the_published_package_is_source_types_and_licence() -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    [packed] = json.loads(run("npm", "pack", "--dry-run", "--json", "--offline"))
    sources = sorted(path.stem for path in (PACKAGE / "src").iterdir())
    assert sorted(each["path"] for each in packed["files"]) == sorted(
        ["LICENSE", "README.md", "package.json"]
        + [f"src/{name}.js" for name in sources]
        + [f"types/{name}.d.ts" for name in sources]
    )
    assert packed["size"] < 40_000


def test_the_package_has_no_dependency_and_leads_to_its_files() -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert "dependencies" not in package
    assert package["license"] == "Apache-2.0"
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    named = [package["main"], package["types"], *package["exports"]["."].values()]
    assert [name for name in named if not (PACKAGE / name).is_file()] == []
    imported = {
        name
        for source in (PACKAGE / "src").glob("*.js")
        for name in re.findall(r"(?:from |import\()['\"]([^'\"]+)", source.read_text())
    }
    assert [name for name in imported if not name.startswith("./")] == []
