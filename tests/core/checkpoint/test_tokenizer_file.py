import json
from pathlib import Path
from typing import Any

import pytest

from pararnn_core.checkpoint.tokenizer_file import TokenizerFile
from pararnn_core.storage.untrusted_file import CheckpointError
from tests.fixtures import SPECIAL_TOKENS, TINY_VOCAB_SIZE, tiny_tokenizer


def written(path: Path, fields: Any) -> Path:
    path.write_text(json.dumps(fields))
    return path


def test_tokens_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    file = TokenizerFile.read(tmp_path / "tokenizer.json", within=None)
    assert file.tokens == {token: text for text, token in tokenizer.get_vocab(with_added_tokens=True).items()}
    assert file.tokens[TINY_VOCAB_SIZE - 1] == SPECIAL_TOKENS[-1]
    assert file.data == (tmp_path / "tokenizer.json").read_bytes()


def test_a_vocabulary_may_be_a_list_of_scored_pieces(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t.json", {"model": {"vocab": [["a", -1.0], ["b", -2.0]]}, "added_tokens": None}
    )
    assert TokenizerFile.read(path, within=None).tokens == {0: "a", 1: "b"}


@pytest.mark.parametrize("added", [False, True])
def test_a_token_beyond_the_models_rows_is_refused(added: bool, tmp_path: Path) -> None:
    last = {"added_tokens": [{"id": 9, "content": "x"}], "model": {"vocab": {"a": 0}}}
    path = written(tmp_path / "t.json", last if added else {"model": {"vocab": {"x": 9}}})
    TokenizerFile.read(path, within=None).check_fits(path, 10)
    with pytest.raises(CheckpointError, match="has token id 9, but vocab_size is 9"):
        TokenizerFile.read(path, within=None).check_fits(path, 9)


@pytest.mark.parametrize(
    "fields",
    [{}, [], {"model": 5}, {"model": {"vocab": 5}}, {"model": {"vocab": {"a": "b"}}}, {"model": None}],
    ids=str,
)
def test_what_is_no_tokenizer_is_one_clear_error(fields: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="vocabulary"):
        TokenizerFile.read(written(tmp_path / "t.json", fields), within=None)
