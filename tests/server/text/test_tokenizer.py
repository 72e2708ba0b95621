import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.errors import BadRequest
from pararnn_server.models.loading import Loaded
from pararnn_server.text import text_encoder
from pararnn_server.text.text_encoder import TokenLimit
from pararnn_server.text.text_pieces import pieces
from pararnn_server.text.tokenizer import Tokenizer, TokenizerError
from tokenizers import Tokenizer as BpeTokenizer

from pararnn_core.storage.untrusted_file import CheckpointError
from tests.fixtures import SPECIAL_TOKENS, TINY_VOCAB_SIZE, tiny_tokenizer

TEXTS = st.text(st.sampled_from("ab é\n\r\t.'s1_\u00a0\u2028 the"), max_size=300)


@pytest.fixture(scope="module")
def tokenizer(loaded: Loaded) -> Tokenizer:
    return loaded.tokenizer


def encode(tokenizer: Tokenizer, text: str, **options: bool) -> list[int]:
    return asyncio.run(tokenizer.encode(text, **options))


@given(TEXTS)
def test_text_in_pieces_has_the_ids_of_the_whole(text: str) -> None:
    whole: BpeTokenizer = tiny_tokenizer()
    cut = list(pieces(text, 4, 1 << 20))
    assert "".join(cut) == text
    ids = [i for piece in cut for i in whole.encode(piece, add_special_tokens=False).ids]
    assert ids == whole.encode(text, add_special_tokens=False).ids


def test_long_text_is_cut_into_pieces() -> None:
    assert len(list(pieces("a\n" * 1000, 10))) > 80
    assert len(list(pieces("a " * 1000, 10))) > 80


def test_a_word_without_end_is_cut_so_that_every_piece_is_bounded() -> None:
    cut = list(pieces("a" * 1000, 10, 90))
    assert "".join(cut) == "a" * 1000
    assert max(map(len, cut)) <= 100


def test_a_long_text_is_encoded_in_slices_that_others_may_come_between(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[int]:
        long = asyncio.ensure_future(tokenizer.encode("the thé in\n" * 30_000))
        turns = 0
        while not long.done():
            await tokenizer.encode("a")
            turns += 1
        assert turns > 3
        return await long

    monkeypatch.setattr("pararnn_server.text.text_encoder.SLICE_SECONDS", 0.001)
    assert tokenizer.decode(asyncio.run(run())) == "the thé in\n" * 30_000


def test_a_text_beyond_the_limit_is_refused_after_the_pieces_that_show_it(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def counted(*given: Any, **options: Any) -> Iterator[str]:
        for piece in pieces(*given, **options):
            encoded.append(len(piece))
            yield piece

    monkeypatch.setattr(text_encoder, "pieces", counted)
    with pytest.raises(BadRequest, match="more than 100000 tokens"):
        asyncio.run(tokenizer.encode_open("a" * (12 << 20), limit=TokenLimit(100_000, "prompt")))
    assert sum(encoded) < 200_000
    encoded.clear()
    with pytest.raises(BadRequest, match="more than 1000 tokens"):
        asyncio.run(tokenizer.encode_open("a" * (12 << 20), limit=TokenLimit(1000, "prompt")))
    assert encoded == []


def test_no_more_is_encoded_for_a_caller_that_gave_up(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pararnn_server.text.text_encoder.SLICE_SECONDS", 0.0)
    steps: list[int] = []
    advance = text_encoder._advance
    monkeypatch.setattr(text_encoder, "_advance", lambda *given: steps.append(1) or advance(*given))

    async def run() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(tokenizer.encode_parts(["a", 1] * 1_000_000), 0.05)
        seen = len(steps)
        await asyncio.sleep(0.1)
        assert len(steps) <= seen + 1

    asyncio.run(run())


@given(st.text(max_size=80))
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = encode(tokenizer, text, special=False)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()


@given(st.lists(st.integers(0, TINY_VOCAB_SIZE - 5), max_size=30))
def test_token_bytes_are_those_of_the_library(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert tokenizer.decode(ids) == tiny_tokenizer().decode(ids)


def test_special_tokens_have_a_name_and_no_text(tokenizer: Tokenizer) -> None:
    for name in SPECIAL_TOKENS:
        [token] = encode(tokenizer, name)
        assert tokenizer.token_bytes[token] == b""
        assert tokenizer.token_text(token) == name
        assert len(encode(tokenizer, name, special=False)) > 1


def test_name_of_a_token_that_is_no_text_shows_its_bytes(tokenizer: Tokenizer) -> None:
    lone = next(i for i, raw in enumerate(tokenizer.token_bytes) if raw == b"\xc3")
    assert tokenizer.token_text(lone) == r"bytes:\xc3"


def folder_with(tmp_path: Path, change: dict[str, object] | None = None, config: object = None) -> Path:
    spec = json.loads(tiny_tokenizer().to_str()) | (change or {})
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_bos_is_added_only_if_the_configuration_says_so(tmp_path: Path) -> None:
    for config, expected in (
        ({"bos_token": "<|bos|>", "add_bos_token": True}, True),
        ({"bos_token": {"content": "<|bos|>"}, "add_bos_token": True}, True),
        ({"bos_token": "<|bos|>"}, False),
        ({"add_bos_token": True}, False),
    ):
        assert Tokenizer(folder_with(tmp_path, config=config), TINY_VOCAB_SIZE).add_bos is expected


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"decoder": None}, None, "byte-level"),
        ({"model": {"type": "None"}}, None, "byte-level"),
        ({"model": {"type": "BPE", "vocab": 5}}, None, "vocab"),
        ({}, {"eos_token": "<|none|>"}, "eos_token"),
        ({}, ["a"], "object"),
    ],
)
def test_broken_file_is_one_error(
    tmp_path: Path, change: dict[str, object], config: object, message: str
) -> None:
    with pytest.raises((TokenizerError, CheckpointError), match=message):
        Tokenizer(folder_with(tmp_path, change, config), TINY_VOCAB_SIZE)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape("tokenizer.json")):
        Tokenizer(tmp_path, TINY_VOCAB_SIZE)


def test_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="vocabulary"):
        Tokenizer(folder_with(tmp_path), TINY_VOCAB_SIZE - 1)


def test_ids_beyond_the_tokenizer_have_no_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer(folder_with(tmp_path), TINY_VOCAB_SIZE + 7)
    assert len(tokenizer.token_bytes) == TINY_VOCAB_SIZE + 7
    assert tokenizer.token_text(TINY_VOCAB_SIZE + 6) == ""


def test_text_is_not_cut_where_a_token_could_reach_over(tmp_path: Path) -> None:
    spec = json.loads(tiny_tokenizer().to_str())
    spec["added_tokens"][0]["lstrip"] = True
    text = "a\n<|bos|>" * 5
    tokenizer = Tokenizer(folder_with(tmp_path, {"added_tokens": spec["added_tokens"]}), TINY_VOCAB_SIZE)
    assert not tokenizer.seams_hold
    assert encode(tokenizer, text) == BpeTokenizer.from_str(json.dumps(spec)).encode(text).ids
