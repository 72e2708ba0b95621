"""The indexes, the proxy and the certificates are those that pip is configured with."""

from pararnn_server.fetch.package_index import PYPI, PipSettings


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
    assert PipSettings.of(listed) == expected


def test_without_settings_the_index_is_pips() -> None:
    assert PipSettings.of("") == PipSettings((PYPI,))


def test_without_an_index_none_is_asked() -> None:
    assert PipSettings.of(":env:.no-index='1'\nglobal.index-url='https://x/simple'").indexes == ()


def test_further_indexes_may_be_on_lines_of_their_own() -> None:
    listed = "global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'"
    assert PipSettings.of(listed).indexes == (PYPI, "https://a/simple", "https://b/simple")
