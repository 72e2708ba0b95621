import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from pararnn_core.training.chat_template import SPECIAL_TOKENS, render_chat
from pararnn_core.training.tokenizer import (
    encode_chat,
    encode_source,
    load_tokenizer,
    save_tokenizer,
    token_id,
    train_tokenizer,
)

TEXTS = [f"def function_{i}(self, value):\n    return self.value + {i}\n" for i in range(200)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, vocab_size=400)


@given(st.text())
def test_any_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = encode_source(tokenizer, [text])
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_every_byte_has_a_token(tokenizer: Tokenizer) -> None:
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(tokenizer.get_vocab())


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "x", " ", "\n", "<|"])))
def test_source_text_never_becomes_a_special_token(tokenizer: Tokenizer, parts: list[str]) -> None:
    (ids,) = encode_source(tokenizer, ["".join(parts)])
    assert not set(ids) & {token_id(tokenizer, token) for token in SPECIAL_TOKENS}


def test_rendered_chats_hold_special_tokens_once_each(tokenizer: Tokenizer) -> None:
    rendered = render_chat([{"role": "user", "content": "value"}], add_generation_prompt=True)
    (ids,) = encode_chat(tokenizer, [rendered])
    names = [tokenizer.id_to_token(i) for i in ids]
    assert [name for name in names if name in SPECIAL_TOKENS] == [
        "<|endoftext|>",
        "<|user|>",
        "<|end|>",
        "<|assistant|>",
    ]


def test_training_twice_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train_tokenizer(TEXTS, vocab_size=400).to_str() == tokenizer.to_str()


def test_saved_tokenizer_encodes_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    assert encode_source(load_tokenizer(tmp_path), TEXTS) == encode_source(tokenizer, TEXTS)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["chat_template"]


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_foreign_tokenizer_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="no token"):
        token_id(tokenizer, "<|unheard of|>")
