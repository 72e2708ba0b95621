"""Text to ids and ids to exact bytes, for byte-level BPE tokenizers in the Hugging Face format."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding
from tokenizers import Tokenizer as BpeTokenizer

from pararnn_core.checkpoint.checkpoint_text import TOKENIZER_CONFIG, CheckpointText
from pararnn_core.storage.untrusted_file import parse_json
from pararnn_server.text.byte_level import TokenizerError, byte_tables, check_gives_text_back, parts_of
from pararnn_server.text.special_tokens import SpecialTokens
from pararnn_server.text.text_encoder import OpenText, TextEncoder, TokenLimit

__all__ = ["OpenText", "Tokenizer", "TokenizerError"]

# An added token such as <|user|> or [INST], as against a word.
_MARK = re.compile(r"[!-/:-@\[-`{-~].+[!-/:-@\[-`{-~]", re.DOTALL)
_SAMPLE = "Aa, 5\u20ac \u00e9\u00df\n\t  x_\u3042\U0001f600\u200d!? {[<|>]}\r\n 0\u00a0\x00\x7f"

logger = logging.getLogger(__name__)


class Tokenizer:
    """Reads the tokenizer files of a checkpoint. Raises TokenizerError and CheckpointError.

    vocab_size: that of the model; ids the tokenizer does not know have no text.
    token_bytes: what each id adds to a reply, exactly; special tokens add nothing.
    special_ids: tokens without text, by spelling. control_ids: these and every other token that no text of a
        message may become.
    named_tokens: spellings of bos_token, eos_token and the like, as chat templates know them.
    chat_templates: sources by name. fingerprint: SHA-256 of tokenizer.json in UTF-8.
    opening_ids, closing_ids: what comes before and after a text prompt, as the tokenizer's files say.
    seams_hold: whether a text's parts between special tokens, encoded one by one, give the ids of the whole.
    """

    def __init__(self, folder: Path, vocab_size: int) -> None:
        text = CheckpointText(folder)
        data = text.tokenizer()
        spec = _parsed(folder, data)
        check_gives_text_back(spec)
        self.fingerprint = sha256(data).hexdigest()
        self.config: dict[str, Any] = text.fields(TOKENIZER_CONFIG)
        self.chat_templates = text.chat_templates()
        self.vocab_size = vocab_size
        special = SpecialTokens.read(text)
        self.named_tokens = special.named
        # Two copies: whether special spellings become tokens is a setting of the whole tokenizer.
        self._special = _load(data, folder, special, vocab_size)
        self._plain = _load(data, folder, special, vocab_size)
        self.seams_hold = _seams_hold(spec, self._special)
        self.token_bytes, self._shown = byte_tables(self._special, vocab_size)
        self._added = {token.content: i for i, token in self._special.get_added_tokens_decoder().items()}
        self._texts = TextEncoder(
            self._last_word,
            0 if spec.get("normalizer") else max(map(len, self._shown)),
            seams_hold=self.seams_hold,
            cuts_words=not any(" " in name for name in self._added),
        )
        self.special_ids: dict[str, int] = {}
        self.control_ids: dict[str, int] = {}
        self.hide(
            [token["content"] for token in spec.get("added_tokens") or [] if token.get("special")]
            + [*special.named.values(), *special.others]
        )
        self.control(filter(self._is_control, self._added))
        self.bos_token, self.bos_id = self._named("bos_token")
        self.eos_token, self.eos_id = self._named("eos_token")
        self.opening_ids, self.closing_ids = self._ends_of_text()
        self._check_text_comes_back()

    @property
    def add_bos(self) -> bool:
        """True if a text prompt starts with the BOS."""
        return self.bos_id in self.opening_ids

    def hide(self, spellings: Iterable[str]) -> None:
        """Give tokens no text: they never show in a reply, and no message may write them."""
        hidden = {name: self._added[name] for name in spellings if name in self._added}
        self.special_ids |= hidden
        for token_id in hidden.values():
            self.token_bytes[token_id] = b""
        self.control(hidden)

    def show(self, spellings: Iterable[str]) -> None:
        """Give special tokens their text in replies. A message still may not write them."""
        for name in spellings:
            token_id = self.special_ids.pop(name, None)
            if token_id is not None:
                self.token_bytes[token_id] = name.encode()

    def control(self, spellings: Iterable[str]) -> None:
        """Let no message write these added tokens: spelled there, they are a row of ordinary characters."""
        marked = {name: self._added[name] for name in spellings if name in self._added}
        self._plain.add_special_tokens(list(marked))
        self._plain.encode_special_tokens = True
        self.control_ids |= {name: i for name, i in marked.items() if i not in self.plain_ids(name)}
        # A table, because every prompt of a chat is searched for control tokens.
        self._is_control_id = np.zeros(self.vocab_size, bool)
        self._is_control_id[list(self.control_ids.values())] = True

    def control_sequence(self, ids: Sequence[int]) -> list[int]:
        """Return the control tokens among the ids, in their order."""
        given = np.asarray(ids, np.int64)
        found: list[int] = given[self._is_control_id[given]].tolist()
        return found

    def marks_in(self, text: str) -> list[str]:
        """List the added tokens that a text spells, but words and runs of spaces."""
        return [name for name in self._added if _MARK.fullmatch(name) and name in text]

    def _is_control(self, spelling: str) -> bool:
        """Tell an added token that may be read as a mark from a word or a run of spaces."""
        if spelling in (self.config.get("chat_control_tokens") or ()):
            return True
        written = any(spelling in source for source in self.chat_templates.values())
        return not spelling.isspace() and (written or _MARK.fullmatch(spelling) is not None)

    def plain_ids(self, text: str) -> list[int]:
        """Encode ordinary characters. A special token that they merge to, such as "!", is a word."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def _ends_of_text(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that the post-processor adds, unless add_bos_token or add_eos_token says otherwise."""
        encoding = self._special.encode("a", add_special_tokens=True)
        own = [i for i, added in enumerate(encoding.special_tokens_mask) if not added]
        if not own:
            raise TokenizerError("tokenizer.json: post_processor drops the text")
        opening, closing = encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]
        return (
            _with_or_without(self.bos_id, self.config.get("add_bos_token"), opening, first=True),
            _with_or_without(self.eos_id, self.config.get("add_eos_token"), closing, first=False),
        )

    def _check_text_comes_back(self) -> None:
        """Encode many kinds of characters: this finds what the checks of single members overlooked."""
        given = b"".join(map(self.shown, self.plain_ids(_SAMPLE))).decode("utf-8", "replace")
        if given != _SAMPLE:
            raise TokenizerError(
                f"tokenizer.json does not give text back: {_SAMPLE!r} comes back as {given!r}"
            )

    async def encode(self, text: str, *, special: bool = True) -> list[int]:
        """special: read the text of a special token as that token; otherwise as plain characters."""
        return list((await self.encode_open(text, special=special)).ids)

    async def encode_open(
        self, text: str, *, special: bool = True, limit: TokenLimit | None = None
    ) -> OpenText:
        """Encode a text that may be continued. Raises BadRequest beyond the limit."""
        return await self._texts.encode(self._special if special else self._plain, [text], limit)

    async def encode_parts(self, parts: Sequence[str | int], limit: TokenLimit | None = None) -> OpenText:
        """Encode plain texts, each by itself, with ids between them. Raises BadRequest beyond the limit."""
        return await self._texts.encode(self._plain, parts, limit)

    def _last_word(self, encoding: Encoding) -> int:
        """Return the start of the last pre-token, which may grow with the text. A special token is whole."""
        words: list[int | None] = encoding.word_ids
        if not words or self._is_control_id[encoding.ids[-1]]:
            return len(words)
        # All ids of the last word count as open: more letters may merge it differently.
        last = words[-1]
        return len(words) - sum(1 for _ in takewhile(lambda word: word == last, reversed(words)))

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
        content = self.named_tokens.get(name)
        if content is None:
            return None, None
        token_id = self._special.token_to_id(content)
        if token_id is None:
            raise TokenizerError(f"tokenizer_config.json: {name} {content!r} is not in tokenizer.json")
        return content, token_id


def _parsed(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        return parse_json(data)
    except ValueError as error:
        raise TokenizerError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from error


def _load(data: bytes, folder: Path, special: SpecialTokens, vocab_size: int) -> BpeTokenizer:
    try:
        tokenizer = BpeTokenizer.from_str(data.decode())
    except Exception as error:  # the library raises nothing more precise
        raise TokenizerError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from error
    # A tokenizer.json may bring truncation and padding from its training.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        # Dropout is for training. With it the same text has other ids each time.
        logger.warning("tokenizer.json: model.dropout is ignored")
        tokenizer.model.dropout = None
    special.mark(tokenizer, vocab_size)
    return tokenizer


def _with_or_without(
    token_id: int | None, wanted: object, ids: Sequence[int], *, first: bool
) -> tuple[int, ...]:
    if not isinstance(wanted, bool) or token_id is None or (token_id in ids) == wanted:
        return tuple(ids)
    if not wanted:
        return tuple(other for other in ids if other != token_id)
    return (token_id, *ids) if first else (*ids, token_id)


def _seams_hold(spec: dict[str, Any], tokenizer: BpeTokenizer) -> bool:
    """Return True if text cut at a seam has the ids of the whole: byte-level rules, no token across it."""
    levels = parts_of(spec.get("pre_tokenizer"), "pretokenizers")
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
