"""The tokenizer of SmolLM2 out of a GGUF file; its pieces are those that transformers builds."""

from pathlib import Path

import gguf
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from pararnn_core.assemble.llama_file import LlamaFile
from pararnn_core.assemble.llama_tokenizer import tokenizer_json
from tests.checkpoints.distil.tiny import tiny_weights, write_gguf


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    write_gguf(tiny_weights(), tmp_path / "tiny.gguf")
    return Tokenizer.from_buffer(tokenizer_json(LlamaFile(tmp_path / "tiny.gguf")))


def test_every_byte_comes_back(tokenizer: Tokenizer) -> None:
    text = "".join(map(chr, range(1, 0x250))) + "日本語 🙂\n\n\t x"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_control_tokens_are_special_and_never_merged(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|1|>he<|2|>").ids
    assert ids[0] == 1
    assert ids[-1] == 2
    assert [tokenizer.id_to_token(token) for token in ids[1:-1]] == ["he"]
    assert tokenizer.decode(ids) == "he"


def test_digits_are_tokens_of_their_own_and_words_take_their_space(tokenizer: Tokenizer) -> None:
    expected = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    text = "In 1984 he's 12½ km  away."
    assert tokenizer.pre_tokenizer.pre_tokenize_str(text) == expected.pre_tokenize_str(text)
    assert [tokenizer.id_to_token(token) for token in tokenizer.encode("42").ids] == ["4", "2"]


def test_another_kind_of_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_tokenizer_pre", lambda *_: None)
    write_gguf(tiny_weights(), tmp_path / "tiny.gguf")
    with pytest.raises((ValueError, KeyError)):
        tokenizer_json(LlamaFile(tmp_path / "tiny.gguf"))
