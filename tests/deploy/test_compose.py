from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pararnn_server.sessions.stores.redis_store import DURABLE
from pararnn_server.settings.server_settings import Settings

from tests.deploy.dockerfile import environment, read_dockerfile

ROOT = Path(__file__).parents[2]
Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def prometheus() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    return loaded


def _interpolated(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_mounted_files_exist_and_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    mounts = [mount for each in compose["services"].values() for mount in each["volumes"]]
    sources = [mount.split(":")[0] for mount in mounts]
    files = [source for source in sources if source.startswith(".")]
    assert files
    assert [path for path in files if not (ROOT / path).exists()] == []
    assert {source for source in sources if not source.startswith(".")} == set(compose["volumes"])


def test_the_build_names_a_dockerfile_and_arguments_it_has(compose: dict[str, Any]) -> None:
    build = compose["services"]["server"]["build"]
    dockerfile = read_dockerfile(ROOT / build["context"] / build["dockerfile"])
    arguments = {each.text.split("=")[0] for each in dockerfile if each.name == "ARG"}
    assert set(build["args"]) <= arguments


def test_the_environment_without_variables_makes_valid_settings(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerfile = read_dockerfile(ROOT / "deploy" / "Dockerfile")
    variables = environment(dockerfile) | compose["services"]["server"]["environment"]
    for name, value in variables.items():
        if name.startswith("PARARNN_"):
            assert name.removeprefix("PARARNN_").lower() in Settings.model_fields
            monkeypatch.setenv(name, _interpolated(str(value)))
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.allow_anonymous
    assert settings.api_keys is None


def test_volumes_are_mounted_where_the_image_expects_them(compose: dict[str, Any]) -> None:
    targets = {mount.split(":")[1] for mount in compose["services"]["server"]["volumes"]}
    dockerfile = read_dockerfile(ROOT / "deploy" / "Dockerfile")
    variables = environment(dockerfile)
    assert variables["PARARNN_CHECKPOINT_DIR"] in targets
    assert any(variables["PARARNN_DATA_DIR"] in each.text for each in dockerfile if each.name == "RUN")


def test_the_servers_share_a_store_that_loses_nothing(compose: dict[str, Any]) -> None:
    server, valkey = compose["services"]["server"], compose["services"]["valkey"]
    assert server["deploy"]["replicas"] == 2
    assert re.fullmatch(r"redis://valkey:6379/\d+", server["environment"]["PARARNN_STORE"])
    _, *options = valkey["command"]
    told = {name.removeprefix("--"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    assert told.items() >= DURABLE.items()
    assert [mount.split(":")[1] for mount in valkey["volumes"]] == ["/data"]


def test_nginx_passes_on_what_comes_when_it_comes(compose: dict[str, Any]) -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    directives = re.findall(r"^\s*(\w+) ([^;{]+);", text, re.M)
    assert {("proxy_buffering", "off"), ("proxy_next_upstream", "off")} <= set(directives)
    assert text.count("{") == text.count("}")
    published = str(compose["services"]["nginx"]["ports"][0]).rsplit(":", 1)[-1]
    assert ("listen", published) in directives
    port = environment(read_dockerfile(ROOT / "deploy" / "Dockerfile"))["PARARNN_PORT"]
    assert ("server", f"server:{port}") in directives
    [limit] = [value for name, value in directives if name == "client_max_body_size"]
    assert int(limit.removesuffix("m")) << 20 == Settings.model_fields["max_body_bytes"].default


def test_nothing_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for each in compose["services"].values() for port in each.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_server_is_given_longer_to_stop_than_it_takes_to_drain(compose: dict[str, Any]) -> None:
    grace = float(compose["services"]["server"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_seconds"].default


def test_prometheus_scrapes_the_server_with_the_admin_key(
    compose: dict[str, Any], prometheus: dict[str, Any]
) -> None:
    (job,) = prometheus["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) <= set(compose["services"])
    port = environment(read_dockerfile(ROOT / "deploy" / "Dockerfile"))["PARARNN_PORT"]
    assert (found["type"], str(found["port"])) == ("A", port)
    assert job["metrics_path"] == "/metrics"
    (mounted,) = compose["services"]["prometheus"]["configs"]
    assert job["authorization"]["credentials_file"] == mounted["target"]
    assert "PARARNN_ADMIN_KEY" in compose["configs"][mounted["source"]]["content"]


def test_prometheus_reads_the_configuration_that_is_mounted(compose: dict[str, Any]) -> None:
    service = compose["services"]["prometheus"]
    (option,) = service["command"]
    targets = [mount.split(":")[1] for mount in service["volumes"]]
    assert option.removeprefix("--config.file=") in targets
