import pytest
from pararnn_server.settings.server_settings import Settings
from pydantic import ValidationError


def test_every_option_says_what_it_is_and_can_be_set_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        monkeypatch.setenv(f"PARARNN_{name.upper()}", "")
    assert Settings() == Settings(_env_file=None)
    monkeypatch.setenv("PARARNN_MAX_NUM_SEQS", "7")
    assert Settings().max_num_seqs == 7
    assert Settings(max_num_seqs=8).max_num_seqs == 8


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARARNN_CORS_ORIGIN", "https://a.example, https://b.example,")
    assert Settings().cors_origin == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("max_num_seqs", 0),
        ("queue_timeout_seconds", 0),
        ("drain_seconds", "nan"),
        ("devise", "cpu"),
        ("max_num_batched_tokens", 63),
    ],
)
def test_value_that_cannot_be_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"(?i){name.replace('_', '[_-]')}"):
        Settings(**{name: value})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # the point of the test
