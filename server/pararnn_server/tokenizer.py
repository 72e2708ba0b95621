"""Text to ids and ids to exact bytes, for byte-level BPE tokenizers in the Hugging Face format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Encoding
from tokenizers import Tokenizer as BpeTokenizer

from pararnn_core.checkpoint_text import DEFAULT_TEMPLATE, TOKENIZER_CONFIG, CheckpointText

PIECE_CHARS = 1 << 16
# After a single line feed between two visible characters a byte-level pre-tokenizer always splits.
_SEAM = re.compile(r"(?<=\S\n)(?=\S)")


class TokenizerError(ValueError):
    """A tokenizer file is missing, broken, or of a kind whose bytes per token are not known."""


class OpenText(NamedTuple):
    """num_stable: how many leading ids stay the same whatever is appended to the text."""

    ids: Sequence[int]
    num_stable: int


class Tokenizer:
    """Reads tokenizer.json and tokenizer_config.json of a checkpoint. Raises TokenizerError.

    vocab_size: that of the model; ids the tokenizer does not know have no text.
    token_bytes: what each id adds to a reply, exactly; special tokens add nothing.
    chat_template: its source, if the checkpoint has one. fingerprint: SHA-256 of tokenizer.json in UTF-8.
    add_bos: whether a text prompt starts with the BOS, as the tokenizer's configuration says.
    seams_hold: whether a text's parts between special tokens, encoded one by one, give the ids of the whole.
    """

    def __init__(self, folder: Path, vocab_size: int) -> None:
        text = CheckpointText(folder)
        source = _utf8(text.tokenizer())
        self.fingerprint = sha256(source.encode()).hexdigest()
        self.config: dict[str, Any] = text.fields(TOKENIZER_CONFIG)
        self._special = _load(source, folder)
        self._plain = _load(source, folder)
        self._plain.encode_special_tokens = True
        self.seams_hold = _seams_hold(json.loads(source), self._special)
        self.chat_template = text.chat_templates().get(DEFAULT_TEMPLATE)
        self.vocab_size = vocab_size
        self.token_bytes, self._shown = _byte_tables(self._special, json.loads(source), vocab_size)
        added = self._special.get_added_tokens_decoder()
        self.special_ids = {token.content: i for i, token in added.items() if token.special}
        self._special_ids = frozenset(self.special_ids.values())
        self.bos_token, self.bos_id = self._named("bos_token")
        self.eos_token, self.eos_id = self._named("eos_token")
        self.add_bos = bool(self.config.get("add_bos_token", False)) and self.bos_id is not None

    async def encode(self, text: str, *, special: bool = True) -> list[int]:
        """special: read the text of a special token as that token; otherwise as plain characters."""
        return list((await self.encode_open(text, special=special)).ids)

    async def encode_open(self, text: str, *, special: bool = True) -> OpenText:
        """As `encode`, for text that may go on."""
        encoder = self._special if special else self._plain
        ids: list[int] = []
        num_stable = 0
        for piece in _pieces(text) if self.seams_hold else (text,):
            encoding = await encoder.async_encode(piece, add_special_tokens=False)
            num_stable = len(ids) + self._last_word(encoding)
            ids.extend(encoding.ids)
        return OpenText(ids, num_stable)

    def _last_word(self, encoding: Encoding) -> int:
        """Where the last pre-token begins: it may grow with the text. A special token is whole."""
        end = len(encoding.ids)
        if not end or encoding.ids[-1] in self._special_ids:
            return end
        word = encoding.token_to_word(end - 1)
        while end and encoding.token_to_word(end - 1) == word:
            end -= 1
        return end

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; bytes that are not UTF-8 become U+FFFD, special tokens nothing."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", "replace")

    def shown(self, token_id: int) -> bytes:
        """Bytes of an id, a special token by its name."""
        return self._shown[token_id]

    def token_text(self, token_id: int) -> str:
        r"""Name of one id; "bytes:\xe2\x80" where its bytes alone are not text."""
        raw = self._shown[token_id]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _named(self, name: str) -> tuple[str | None, int | None]:
        """Content and id of bos_token or eos_token, which a file gives as text or as an object."""
        value = self.config.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        if not isinstance(content, str):
            return None, None
        token_id = self._special.token_to_id(content)
        if token_id is None:
            raise TokenizerError(f"tokenizer_config.json: {name} {content!r} is not in tokenizer.json")
        return content, token_id


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TokenizerError(f"tokenizer.json is not UTF-8 text: {error}") from error


def _load(source: str, folder: Path) -> BpeTokenizer:
    try:
        tokenizer = BpeTokenizer.from_str(source)
    except Exception as error:  # the library raises nothing more precise
        raise TokenizerError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _parts(node: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The members of a component that may be a sequence of components."""
    if node is None:
        return []
    return list(node[key]) if node.get("type") == "Sequence" else [node]


def _seams_hold(spec: dict[str, Any], tokenizer: BpeTokenizer) -> bool:
    """Whether text cut at a seam gives the ids of the whole: byte-level rules, no token reaches over."""
    levels = _parts(spec.get("pre_tokenizer"), "pretokenizers")
    plain = (
        spec.get("normalizer") is None
        and len(levels) == 1
        and levels[0].get("type") == "ByteLevel"
        and levels[0].get("use_regex", True)
        and not levels[0].get("add_prefix_space", True)
    )
    return bool(plain) and not any(map(_reaches_over, tokenizer.get_added_tokens_decoder().values()))


def _reaches_over(token: AddedToken) -> bool:
    return token.lstrip or token.rstrip or token.single_word or "\n" in token.content


def _pieces(text: str, size: int = PIECE_CHARS) -> Iterator[str]:
    """Text in pieces of about `size` characters, so that encoding a long one needs little memory."""
    start = 0
    while len(text) - start > size:
        seam = _SEAM.search(text, start + size)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]


def _byte_tables(
    tokenizer: BpeTokenizer, spec: dict[str, Any], vocab_size: int
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Per id: the bytes it adds to text, and the bytes it is shown by."""
    if "ByteLevel" not in {part.get("type") for part in _parts(spec.get("decoder"), "decoders")}:
        raise TokenizerError("tokenizer.json: only byte-level BPE is served; its decoder must be ByteLevel")
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=-1)
    if highest >= vocab_size:
        raise TokenizerError(
            f"tokenizer.json has token {highest}, but the model's vocabulary ends at {vocab_size - 1}"
        )
    added = tokenizer.get_added_tokens_decoder()
    byte_of = _byte_alphabet()
    text, shown = [b""] * vocab_size, [b""] * vocab_size
    for content, token_id in vocabulary.items():
        extra = added.get(token_id)
        raw = content.encode() if extra else _raw_bytes(content, byte_of)
        shown[token_id] = raw
        text[token_id] = b"" if extra is not None and extra.special else raw
    return text, shown


def _raw_bytes(content: str, byte_of: dict[str, int]) -> bytes:
    try:
        return bytes(byte_of[character] for character in content)
    except KeyError as error:
        raise TokenizerError(f"tokenizer.json: token {content!r} is not byte-level text") from error


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE writes printable Latin-1 as itself and the other bytes, in order, from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
