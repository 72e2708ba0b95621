from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from pararnn_server.settings.server_settings import Settings

from tests.deploy.dockerfile import Instruction, environment, read_dockerfile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return read_dockerfile(DOCKERFILE)


def _named(instructions: list[Instruction], name: str) -> list[Instruction]:
    return [each for each in instructions if each.name == name]


def _copied_from_the_repository(instructions: list[Instruction]) -> list[str]:
    copies = [each for each in _named(instructions, "COPY") if "--from=" not in each.text]
    return [source for each in copies for source in each.words[:-1]]


def test_everything_copied_exists_and_reaches_the_builder(instructions: list[Instruction]) -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    sources = _copied_from_the_repository(instructions)
    assert set(sources) == allowed
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_everything_the_build_reads_is_copied(instructions: list[Instruction]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = project["tool"]["scikit-build"]
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    needed |= {build["cmake"]["source-dir"], *build["wheel"]["packages"]}
    copied = set(_copied_from_the_repository(instructions))
    assert [each for each in needed if not {each, *map(str, Path(each).parents)} & copied] == []


def test_what_pip_installs_first_is_what_the_project_asks_for(instructions: list[Instruction]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {*project["build-system"]["requires"]}
    installed = {
        word
        for each in _named(instructions, "RUN")
        if "pip install" in each.text
        for word in each.words
        if re.match(r"[a-z]", word)
    }
    assert wanted <= installed


def test_the_server_does_not_run_as_root(instructions: list[Instruction]) -> None:
    final = instructions[max(i for i, each in enumerate(instructions) if each.name == "FROM") :]
    users = [each.text.strip() for each in _named(final, "USER")]
    assert users
    assert users[-1] not in ("root", "0")


def test_the_environment_is_made_of_real_settings(
    instructions: list[Instruction], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name: value for name, value in environment(instructions).items() if name.startswith("PARARNN_")}
    assert ours
    for name, value in ours.items():
        assert name.removeprefix("PARARNN_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    Settings()


def test_port_health_check_and_command_agree_with_the_server(instructions: list[Instruction]) -> None:
    port = environment(instructions)["PARARNN_PORT"]
    assert [each.text for each in _named(instructions, "EXPOSE")] == [port]
    assert f"127.0.0.1:{port}/health'" in _named(instructions, "HEALTHCHECK")[0].text
    assert json.loads(_named(instructions, "ENTRYPOINT")[0].text) == ["pararnn"]
    assert json.loads(_named(instructions, "CMD")[0].text) == ["serve"]
