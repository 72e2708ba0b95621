"""The indexes, the proxy and the certificates are those that pip is configured with."""

import os
import sys

import pytest
from pararnn_server.fetch.package_index import PipSettings

HELP = """
  -i, --index-url <url>       Base URL of the Package Index (default
                              https://its-own/simple). This should point to ...
  --extra-index-url <url>     Extra URLs (default https://other/simple)
"""


def settings_of(listed: str) -> PipSettings:
    return PipSettings.of(listed, lambda: HELP)


def test_variables_win_over_files_and_sections_over_the_global_one() -> None:
    listed = """
:env:.index-url='https://ada:pass=word@first/simple'
download.extra-index-url='https://second/simple'
global.extra-index-url='https://third/simple'
global.index-url='https://fourth/simple'
global.proxy='http://proxy:3128'
install.cert='/other.pem'
global.cert='/certificates.pem'
WARNING: something else
"""
    expected = PipSettings(
        ("https://ada:pass=word@first/simple", "https://second/simple"),
        "http://proxy:3128",
        "/certificates.pem",
    )
    assert settings_of(listed) == expected


def test_without_settings_the_index_is_pips() -> None:
    assert settings_of("") == PipSettings(("https://its-own/simple",))


def test_an_installed_pip_says_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    [index] = PipSettings.read().indexes
    assert index.startswith("https://")
    assert index.endswith("/simple")


def test_without_pip_no_index_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert PipSettings.read() == PipSettings()


def test_without_an_index_none_is_asked() -> None:
    assert settings_of(":env:.no-index='1'\nglobal.index-url='https://x/simple'").indexes == ()


def test_further_indexes_may_be_on_lines_of_their_own() -> None:
    listed = "global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'"
    assert settings_of(listed).indexes == ("https://its-own/simple", "https://a/simple", "https://b/simple")
