"""Tokenizer files of all kinds: read as transformers reads them, or refused with one line that says why."""

from __future__ import annotations

import asyncio
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.text.prompts import PromptReader
from pararnn_server.text.tokenizer import Tokenizer, TokenizerError

from tests.server.text.tokenizer_files import (
    ASSISTANT,
    BOS,
    EOS,
    IDS,
    ODD_FILES,
    USER,
    VOCAB_SIZE,
    Files,
    adding,
    member,
    normalized,
    not_special,
    post_processor,
    without_bytes,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import PreTrainedTokenizerFast

TEXTS = (
    "",
    "the cat, in 2024: it's é\n\n  x",
    f"a{USER}b {EOS}\n{BOS}",
    f"{USER}{ASSISTANT}the {USER} he",
    "[PAD] word    <mark>the",
    "e\u0301 \u212b 5€ \U0001f600",
)


def read(tokenizer: Tokenizer, text: str) -> list[int]:
    reader = PromptReader(tokenizer, 10_000)
    return list(asyncio.run(reader.text(text, param="prompt", bos=True)).token_ids)


@pytest.mark.parametrize("files", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_ids_and_special_tokens_are_those_of_transformers(files: Files, tmp_path: Path) -> None:
    ours = files.tokenizer(tmp_path / "files")
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path / "files")
    marked = {token.content for token in theirs.added_tokens_decoder.values() if token.special}
    assert set(ours.special_ids) == marked | set(theirs.all_special_tokens)
    assert dict(ours.named_tokens) == theirs.special_tokens_map
    assert (ours.bos_token, ours.eos_token) == (theirs.bos_token, theirs.eos_token)
    for text in TEXTS:
        ids = read(ours, text)
        assert ids == theirs(text).input_ids, text
        assert asyncio.run(ours.encode(text)) == theirs(text, add_special_tokens=False).input_ids, text
        shown = [token for token in ids if token not in theirs.all_special_ids]
        assert ours.decode(ids) == theirs.decode(shown, skip_special_tokens=True), text


@pytest.mark.parametrize("files", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_no_plain_text_is_a_control_token(files: Files, tmp_path: Path) -> None:
    tokenizer = files.tokenizer(tmp_path)
    for spelling in tokenizer.control_ids:
        ids = asyncio.run(tokenizer.encode(f"a{spelling}b", special=False))
        assert tokenizer.control_sequence(ids) == []
        assert "".join(map(tokenizer.token_text, ids)) == f"a{spelling}b"


def test_the_configuration_says_whether_a_text_has_a_bos_and_an_eos(tmp_path: Path) -> None:
    named = {"bos_token": BOS, "eos_token": EOS}
    [letter] = [64]
    cases: list[tuple[Files, list[int]]] = [
        (Files(config=named), [letter]),
        (Files(config=named | {"add_bos_token": True}), [IDS[BOS], letter]),
        (Files(config=named | {"add_eos_token": True}), [letter, IDS[EOS]]),
        (Files(post_processor(BOS, "A"), named | {"add_bos_token": True}), [IDS[BOS], letter]),
        (Files(post_processor(BOS, "A"), named | {"add_bos_token": False}), [letter]),
        (Files(post_processor(BOS, "A", EOS), named | {"add_eos_token": False}), [IDS[BOS], letter]),
        (Files(config={"add_bos_token": True}), [letter]),
    ]
    for number, (files, expected) in enumerate(cases):
        tokenizer = files.tokenizer(tmp_path / str(number))
        assert read(tokenizer, "a") == expected
        reader = PromptReader(tokenizer, 100)
        assert list(asyncio.run(reader.text("a", param="prompt", bos=False)).token_ids) == [letter]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (Files(without_bytes("€")), r"model\.vocab"),
        (
            Files(lambda spec: (without_bytes("€")(spec), member("model.unk_token", "[UNK]")(spec))),
            r"model\.vocab",
        ),
        (Files(member("pre_tokenizer.add_prefix_space", True)), "add_prefix_space"),
        (Files(normalized("Lowercase")), "Lowercase"),
        (Files(normalized("NFKC")), "NFKC"),
        (Files(member("normalizer", {"type": "Prepend", "prepend": " "})), "Prepend"),
        (Files(member("pre_tokenizer", None)), "pre_tokenizer"),
        (Files(member("pre_tokenizer", {"type": "Whitespace"})), "Whitespace"),
        (Files(member("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True})), "decoder"),
        (Files(member("model.end_of_word_suffix", "</w>")), "end_of_word_suffix"),
        (Files(member("model.continuing_subword_prefix", "##")), "continuing_subword_prefix"),
        (Files(adding("<x>", lstrip=True)), "<x>"),
        (
            Files(
                member(
                    "model",
                    {
                        "type": "WordPiece",
                        "unk_token": "a",
                        "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100,
                        "vocab": {"a": 0},
                    },
                )
            ),
            r"model\.type is WordPiece",
        ),
        (
            Files(
                member(
                    "pre_tokenizer",
                    {
                        "type": "Sequence",
                        "pretokenizers": [
                            {
                                "type": "Split",
                                "pattern": {"String": "€"},
                                "behavior": "Removed",
                                "invert": False,
                            },
                            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
                        ],
                    },
                )
            ),
            "Split drops",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tokenizer_that_loses_text_is_refused_by_the_name_of_its_member(
    files: Files, named: str, tmp_path: Path
) -> None:
    with pytest.raises(TokenizerError, match=named) as refused:
        files.tokenizer(tmp_path)
    assert "\n" not in str(refused.value)


def test_dropout_is_off_so_that_a_text_always_has_the_same_ids(tmp_path: Path) -> None:
    tokenizer = Files(member("model.dropout", 0.9)).tokenizer(tmp_path / "a")
    plain = Files().tokenizer(tmp_path / "b")
    text = "the in the é in" * 3
    for special in (True, False):
        seen = {tuple(asyncio.run(tokenizer.encode(text, special=special))) for _ in range(20)}
        assert seen == {tuple(asyncio.run(plain.encode(text, special=special)))}


CHANGES = {
    "lower": normalized("Lowercase"),
    "nfc": normalized("NFC"),
    "prefix": member("pre_tokenizer.add_prefix_space", True),
    "no euro": without_bytes("€"),
    "unk": member("model.unk_token", "[UNK]"),
    "dropout": member("model.dropout", 0.5),
    "no regex": member("pre_tokenizer.use_regex", False),
    "words": adding("the", "  ", "in the"),
    "stripping": adding("<s>", lstrip=True, rstrip=True),
    "not special": not_special(USER, EOS),
    "ends": post_processor(BOS, "A", EOS),
}


@settings(max_examples=40)
@given(
    names=st.sets(st.sampled_from(sorted(CHANGES))),
    text=st.text(st.sampled_from("the in  É€é\u0301<|eos|>\n")),
)
def test_detokenize_gives_back_what_tokenize_took_or_the_tokenizer_is_refused(
    names: set[str], text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(spec: dict[str, Any]) -> None:
        for name in sorted(names):
            CHANGES[name](spec)

    try:
        tokenizer = Files(change).tokenizer(tmp_path_factory.mktemp("files"))
    except TokenizerError:
        assert names & {"lower", "prefix", "no euro", "stripping"}
        return
    ids = asyncio.run(tokenizer.encode(text, special=False))
    assert ids == asyncio.run(tokenizer.encode(text, special=False))
    expected = unicodedata.normalize("NFC", text) if "nfc" in names else text
    assert b"".join(tokenizer.shown(token) for token in ids).decode() == expected


def test_words_that_were_added_are_ordinary_and_marks_are_not(tmp_path: Path) -> None:
    files = Files(adding("word", "    ", "<mark>", "USER"), {"chat_template": "{{ 'USER' }}: {{ messages }}"})
    tokenizer = files.tokenizer(tmp_path)
    assert tokenizer.control_ids.keys() - tokenizer.special_ids.keys() == {"<mark>", "USER"}
    assert tokenizer.vocab_size == VOCAB_SIZE
