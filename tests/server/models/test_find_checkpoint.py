from pathlib import Path

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.models.find_checkpoint import find_checkpoint, shipped_checkpoints
from pararnn_server.settings.server_settings import Settings


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_argument_is_a_directory_before_it_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = make(tmp_path / "work" / "model")
    make(tmp_path / "store" / "model")
    monkeypatch.chdir(here.parent)
    assert find_checkpoint(Settings(checkpoint="model", checkpoint_dir=tmp_path / "store")) == Path("model")


def test_name_is_looked_up_in_the_checkpoint_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(tmp_path / "store" / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARARNN_CHECKPOINT_DIR", str(tmp_path / "store"))
    assert find_checkpoint(Settings(checkpoint="model")) == model


def test_without_a_name_the_first_of_the_directory_is_meant(tmp_path: Path) -> None:
    make(tmp_path / "b")
    first = make(tmp_path / "a")
    (tmp_path / "0-no-checkpoint").mkdir()
    assert find_checkpoint(Settings(checkpoint_dir=tmp_path)) == first


def test_without_a_name_int8_is_preferred_to_the_same_model_in_full(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "a-int4")
    make(tmp_path / "b-int8")
    assert find_checkpoint(Settings(checkpoint_dir=tmp_path)) == tmp_path / "a"
    in_int8 = make(tmp_path / "a-int8")
    assert find_checkpoint(Settings(checkpoint_dir=tmp_path)) == in_int8
    assert find_checkpoint(Settings(checkpoint="a", checkpoint_dir=tmp_path)) == tmp_path / "a"


def test_checkpoint_directory_may_be_a_checkpoint_itself(tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    assert find_checkpoint(Settings(checkpoint_dir=model)) == model


@pytest.mark.parametrize("name", ["other", "../outside", "/absent"])
def test_what_is_not_found_is_named_with_where_it_was_looked_for(tmp_path: Path, name: str) -> None:
    make(tmp_path / "store" / "model")
    make(tmp_path / "outside")
    with pytest.raises(ConfigurationError) as refused:
        find_checkpoint(Settings(checkpoint=name, checkpoint_dir=tmp_path / "store"))
    assert name in str(refused.value)
    assert str(tmp_path / "store") in str(refused.value)


def test_the_package_comes_before_the_repository_and_after_what_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "server" / "pararnn_server"
    package.mkdir(parents=True)
    monkeypatch.setattr("pararnn_server.models.find_checkpoint._HERE", package)
    monkeypatch.chdir(tmp_path)
    in_repository = make(tmp_path / "checkpoints" / "model-int8")
    assert find_checkpoint(Settings()) == in_repository
    in_package = make(package / "checkpoints" / "model-int8")
    assert find_checkpoint(Settings()) == find_checkpoint(Settings(checkpoint="model-int8")) == in_package
    in_directory = make(tmp_path / "store" / "model-int8")
    monkeypatch.setenv("PARARNN_CHECKPOINT_DIR", str(tmp_path / "store"))
    assert find_checkpoint(Settings()) == find_checkpoint(Settings(checkpoint="model-int8")) == in_directory
    argument = make(tmp_path / "model-int8")
    assert find_checkpoint(Settings(checkpoint="model-int8")).resolve() == argument
    # Only what the others do not have comes from the repository then.
    only_there = make(tmp_path / "checkpoints" / "other")
    assert find_checkpoint(Settings(checkpoint="other")) == only_there


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    return make(tmp_path / "models" / "paragru-141m-chat")


def test_without_a_name_the_fetched_chat_model_is_meant(tmp_path: Path, fetched: Path) -> None:
    make(tmp_path / "models" / "a-model-of-another-name")
    assert find_checkpoint(Settings(model_dir=tmp_path / "models")) == fetched


def test_a_fetched_model_is_found_by_name(tmp_path: Path, fetched: Path) -> None:
    int8 = make(tmp_path / "models" / "paragru-141m-chat-int8")
    settings = Settings(model_dir=tmp_path / "models", checkpoint="paragru-141m-chat-int8")
    assert find_checkpoint(settings) == int8


def test_the_checkpoint_directory_comes_before_fetched_models(tmp_path: Path, fetched: Path) -> None:
    ours = make(tmp_path / "store" / "ours")
    settings = Settings(model_dir=tmp_path / "models", checkpoint_dir=tmp_path / "store")
    assert find_checkpoint(settings) == ours


def test_a_user_without_a_home_directory_gets_the_model_that_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARARNN_MODEL_DIR")
    monkeypatch.setattr("pararnn_server.fetch.model_folder.home", lambda: None)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert find_checkpoint(Settings()).name == "paragru-5m-stdlib-int8"


def test_tests_do_not_see_what_is_fetched_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make(tmp_path / "pararnn" / "models" / "paragru-141m-chat")
    assert find_checkpoint(Settings()).name == "paragru-5m-stdlib-int8"


def test_shipped_checkpoints_are_looked_up_in_package_and_repository() -> None:
    assert all(folder.name == "checkpoints" and folder.is_dir() for folder in shipped_checkpoints())
