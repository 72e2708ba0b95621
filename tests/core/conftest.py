import shutil
from pathlib import Path

import pytest

from pararnn_core.checkpoint import (
    save_checkpoint,
)
from tests.fixtures import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint; not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = path.with_name("tokenizer.json")
    tiny_tokenizer().save(str(tokenizer))
    save_checkpoint(tiny_model("lstm"), path, tokenizer, chat_template="{{ messages }}")
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))
