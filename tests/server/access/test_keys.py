from pathlib import Path

import pytest
from pararnn_server.access.keys import ConfigurationError, load_keys
from pararnn_server.errors import Unauthorized
from pararnn_server.settings.server_settings import Settings

KEY = "k" * 16


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_keys_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\none:{KEY}1\n  two:{KEY}:2\n")
    keys = load_keys(Settings(keys_file=file, api_keys=f"three:{KEY}3, one:{KEY}4"))
    owners = {suffix: keys.owner(bearer(f"{KEY}{suffix}")) for suffix in ("1", ":2", "3", "4")}
    assert owners == {"1": "one", ":2": "two", "3": "three", "4": "one"}


def test_without_keys_everyone_is_anonymous() -> None:
    keys = load_keys(Settings())
    assert keys.anonymous
    assert keys.owner({}) == keys.owner(bearer("whatever")) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a b:{KEY}", "name:key"),
        (KEY, "name:key"),
        (f":{KEY}", "name:key"),
        ("one:short", "16 or more"),
        (f"one:{KEY} {KEY}", "printable"),
        (f"one:{KEY}é", "ASCII"),
    ],
)
def test_bad_line_is_named_without_its_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# first\n{text}\n")
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_keys(Settings(keys_file=file))
    assert "line 2" in str(refused.value)
    assert KEY not in str(refused.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_keys(Settings(keys_file=tmp_path / "nowhere"))


def test_keys_do_not_show_in_the_settings() -> None:
    assert KEY not in repr(Settings(api_keys=f"one:{KEY}", admin_key=KEY))


def test_admin_key_opens_nothing_else() -> None:
    keys = load_keys(Settings(api_keys=f"one:{KEY}", admin_key=f"{KEY}admin"))
    keys.check_admin(bearer(f"{KEY}admin"))
    with pytest.raises(Unauthorized):
        keys.owner(bearer(f"{KEY}admin"))
    with pytest.raises(Unauthorized):
        keys.check_admin(bearer(KEY))


def test_one_key_for_two_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"one:{KEY}\none:{KEY}\n")
    assert load_keys(Settings(keys_file=file)).owner(bearer(KEY)) == "one"
    with pytest.raises(ConfigurationError, match="one and two") as refused:
        load_keys(Settings(keys_file=file, api_keys=f"two:{KEY}"))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"api-key": f" {KEY}"},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": KEY},
        {"authorization": "Bearer", "api-key": KEY},
    ],
)
def test_key_may_come_in_any_header_that_clients_use(headers: dict[str, str]) -> None:
    assert load_keys(Settings(api_keys=f"one:{KEY}")).owner(headers) == "one"


def test_wrong_bearer_key_is_not_made_up_for_by_another_header() -> None:
    keys = load_keys(Settings(api_keys=f"one:{KEY}"))
    with pytest.raises(Unauthorized):
        keys.owner(bearer("wrong") | {"x-api-key": KEY})
