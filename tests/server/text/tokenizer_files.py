"""Tokenizer files as the world has them: variations of the tiny tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pararnn_server.text.tokenizer import Tokenizer

from tests.fixtures import SPECIAL_TOKENS, TINY_VOCAB_SIZE, tiny_tokenizer

BOS, EOS, USER, ASSISTANT = SPECIAL_TOKENS
IDS = {name: TINY_VOCAB_SIZE - 4 + i for i, name in enumerate(SPECIAL_TOKENS)}
VOCAB_SIZE = TINY_VOCAB_SIZE + 8
Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Files:
    """change: of tokenizer.json. config: tokenizer_config.json. others: further JSON files by name."""

    change: Change = lambda spec: None
    config: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        spec = json.loads(tiny_tokenizer().to_str())
        self.change(spec)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"tokenizer_class": "PreTrainedTokenizerFast"} | self.config
        for name, fields in {"tokenizer.json": spec, "tokenizer_config.json": config, **self.others}.items():
            (folder / name).write_text(json.dumps(fields))
        return folder

    def tokenizer(self, folder: Path) -> Tokenizer:
        return Tokenizer(self.write(folder), VOCAB_SIZE)


def template(*names: str) -> dict[str, Any]:
    """A TemplateProcessing of special tokens around the text, "A"."""
    single = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if name == "A"
        else {"SpecialToken": {"id": name, "type_id": 0}}
        for name in names
    ]
    special = {name: {"id": name, "ids": [IDS[name]], "tokens": [name]} for name in names if name != "A"}
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def post_processor(*names: str) -> Change:
    return lambda spec: spec.update(post_processor=template(*names))


def as_llama_3(spec: dict[str, Any]) -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    spec["post_processor"] = {"type": "Sequence", "processors": [byte_level, template(BOS, "A")]}
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
    )
    spec["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    spec["model"]["ignore_merges"] = True


def not_special(*names: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        for token in spec["added_tokens"]:
            if token["content"] in names:
                token["special"] = False

    return change


def adding(*contents: str, **fields: Any) -> Change:
    """Further added tokens, not special unless `fields` says so."""

    def change(spec: dict[str, Any]) -> None:
        plain = {
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
        for content in contents:
            token_id = TINY_VOCAB_SIZE + len(spec["added_tokens"]) - len(SPECIAL_TOKENS)
            spec["added_tokens"].append({"id": token_id, "content": content, **plain, **fields})

    return change


def normalized(kind: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["normalizer"] = {"type": kind}
        for token in spec["added_tokens"]:
            token["normalized"] = True

    return change


def without_bytes(text: str) -> Change:
    """Return a change to a tokenizer that was trained on text without these characters."""

    def change(spec: dict[str, Any]) -> None:
        for name in tiny_tokenizer().pre_tokenizer.pre_tokenize_str(text)[0][0]:
            spec["model"]["vocab"].pop(name, None)

    return change


def member(path: str, value: Any) -> Change:
    """Set a member such as model.dropout."""

    def change(spec: dict[str, Any]) -> None:
        *outer, last = path.split(".")
        for name in outer:
            spec = spec[name]
        spec[last] = value

    return change


def _decoder(special: bool) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {str(IDS[USER]): {"content": USER, "special": special, **plain}}


ODD_FILES: dict[str, Files] = {
    "plain": Files(config={"bos_token": BOS, "eos_token": EOS}),
    "bos of the post-processor": Files(post_processor(BOS, "A"), {"bos_token": BOS}),
    "bos and eos of the post-processor": Files(post_processor(BOS, "A", EOS), {"bos_token": BOS}),
    "as Llama 3": Files(as_llama_3, {"bos_token": BOS, "eos_token": EOS}),
    "named but not special": Files(not_special(EOS), {"eos_token": EOS}),
    "additional but not special": Files(not_special(USER), {"additional_special_tokens": [USER]}),
    "extra but not special": Files(not_special(USER), {"extra_special_tokens": [USER]}),
    "of a model's kind": Files(not_special(USER), {"extra_special_tokens": {"image_token": USER}}),
    "of a named kind": Files(not_special(USER), {"image_token": USER}),
    "in the decoder": Files(not_special(USER), {"added_tokens_decoder": _decoder(True)}),
    "not in the decoder": Files(not_special(USER), {"added_tokens_decoder": _decoder(False)}),
    "in the map": Files(
        not_special(EOS, USER),
        {"bos_token": BOS},
        {
            "special_tokens_map.json": {
                "eos_token": {"content": EOS, "lstrip": False, "rstrip": False, "normalized": False},
                "additional_special_tokens": [USER],
            }
        },
    ),
    "in no tokenizer.json": Files(config={"pad_token": "[PAD]", "eos_token": EOS}),
    "a word of the vocabulary": Files(config={"unk_token": "he", "eos_token": EOS}),
    "with NFC": Files(normalized("NFC"), {"eos_token": EOS}),
    "with added words": Files(adding("word", "    ", "<mark>"), {"eos_token": EOS}),
}
