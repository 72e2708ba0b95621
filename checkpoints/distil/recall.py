"""Recall of a fact against distance: a word is named, other text follows, then the word is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from checkpoints.distil.replies import Decoder, greedy, replies
from checkpoints.distil.text.documents import prompt_text
from pararnn_core.assemble.assemble import EOS_TOKEN_ID

DISTANCES = (50, 200, 1000, 3000, 10_000)
WORDS = ("otter", "violin", "copper", "harbour", "lantern", "walnut", "meadow", "thunder", "pencil", "castle")
REPLY_TOKENS = 24
FACT = "Remember the secret word: the secret word is {word}.\n\n"
QUESTION = "\n\nWhat is the secret word?"


def recalled(decoder: Decoder, tokenizer: Tokenizer, text: Sequence[int], distance: int) -> tuple[int, int]:
    """Return the numbers of WORDS that greedy replies recall, and that were asked for.

    text: token ids of other text; each word has its own part of it, `distance` tokens long
    """
    prompts = [_prompt(tokenizer, word, _part(text, place, distance)) for place, word in enumerate(WORDS)]
    right = 0
    # One after another: a long prompt needs memory only for its own chunk.
    for word, prompt in zip(WORDS, prompts, strict=True):
        (reply,) = replies(decoder, [prompt], greedy, EOS_TOKEN_ID, REPLY_TOKENS)
        right += word in str(tokenizer.decode(reply.tokens)).lower()
    return right, len(WORDS)


def _part(text: Sequence[int], place: int, length: int) -> Sequence[int]:
    # Parts begin at different places, and may overlap where the text is short.
    start = place * max(0, len(text) - length) // len(WORDS)
    return text[start : start + length]


def _prompt(tokenizer: Tokenizer, word: str, between: Sequence[int]) -> list[int]:
    """Return the ids of a chat's prompt."""
    content = FACT.format(word=word) + str(tokenizer.decode(list(between))) + QUESTION
    ids: list[int] = tokenizer.encode(prompt_text([("user", content)])).ids
    return ids
