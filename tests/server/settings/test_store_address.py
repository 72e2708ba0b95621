"""The password of a store is shown nowhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.commands.cli import build_app
from pararnn_server.commands.serve import kept
from pararnn_server.settings.server_settings import Settings
from pararnn_server.settings.store_address import check_store, shown_store
from pydantic import ValidationError
from typer.testing import CliRunner

SECRET = "s3cret"
ADDRESSES = [
    "redis://127.0.0.1:9/0?password=s3cret",
    "redis://me:s3cret@127.0.0.1:9/0",
    "redis://:s3cret@127.0.0.1:9",
    "rediss://me:s3cret@[::1]:9/1?ssl_cert_reqs=none",
    "redis://127.0.0.1:9/0?passwrd=s3cret",
    "redis://127.0.0.1:9/0?db=s3cret",
    "redis://me:s3cret",
    "redis://me:s3cret#@127.0.0.1:9",
    "redis://me:s3cret/@127.0.0.1:9",
    "redis://me:s3cret@127.0.0.1:port",
    "redis://127.0.0.1:9/s3cret",
    "redis://:s3 cret@127.0.0.1",
    "redis://?password=s3cret",
    "reddis://me:s3cret@127.0.0.1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_store_that_cannot_be_used_is_named_without_its_password(
    address: str, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = ["--checkpoint", str(checkpoint), "--port", "0", "--store", address]
    result = CliRunner().invoke(build_app(["serve"]), ["serve", *options])
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("pararnn: --store (PARARNN_STORE): ")
    assert "s3" not in result.stdout + last + caplog.text


def test_the_banner_and_the_settings_show_a_store_without_its_password() -> None:
    settings = Settings(store="redis://me:s3cret@host:6379/0?password=s3cret")
    assert kept(settings) == "in redis://host:6379/0"
    assert SECRET not in repr(settings)
    with pytest.raises(ValidationError) as refused:
        Settings(store="redis://me:s3cret")
    assert SECRET not in str(refused.value)


def test_the_help_shows_no_value_of_the_environment() -> None:
    address = {"PARARNN_STORE": ADDRESSES[0], "PARARNN_API_KEYS": "me:s3cret-0123456789"}
    assert SECRET not in CliRunner().invoke(build_app(["serve"]), ["serve", "--help"], env=address).stdout


@given(st.text("redis:/@?#&=%[]. 09ab", max_size=30).map(lambda rest: f"redis://{rest}"))
def test_what_is_shown_of_an_accepted_address_is_host_port_and_database(address: str) -> None:
    try:
        check_store(address)
    except ValueError:
        return
    shown = shown_store(address).removeprefix("redis://")
    assert "@" not in shown
    assert "?" not in shown
    assert shown in address
