from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.engine.request import PromptLogprobs, Tokens
from pararnn_server.http.formats.pieces import LOWEST_LOGPROB, PieceReader, entry
from pararnn_server.models.loading import Loaded
from pararnn_server.text.prompts import EncodedPrompt

from pararnn_core.sampling.sampler import Sampled


def reader(loaded: Loaded, ids: list[int], added: int = 0, *, logprobs: bool, echo: bool) -> PieceReader:
    return PieceReader(loaded.tokenizer, EncodedPrompt(ids, added), logprobs=logprobs, echo=echo)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=10))
def test_text_does_not_depend_on_where_bytes_are_cut(loaded: Loaded, data: bytes, cuts: list[int]) -> None:
    pieces = reader(loaded, [1], logprobs=False, echo=False)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(bounds)]
    texts = [pieces.tokens(Tokens(0, [], chunk, None, 0)).text for chunk in chunks]
    assert "".join([*texts, pieces.rest().text]) == data.decode("utf-8", "replace")


def test_unfinished_character_waits_for_its_rest(loaded: Loaded) -> None:
    pieces = reader(loaded, [1], logprobs=False, echo=False)
    assert [pieces.tokens(Tokens(0, [], raw, None, 0)).text for raw in (b"a\xc3", b"\xa9")] == ["a", "é"]
    assert pieces.tokens(Tokens(0, [], b"\xc3", None, 0)).text == ""
    assert pieces.rest().text == "\ufffd"


@given(st.lists(st.integers(0, 264), min_size=1, max_size=20), st.integers(1, 7))
def test_echo_in_chunks_is_the_echo_at_once(loaded: Loaded, ids: list[int], step: int) -> None:
    [whole] = reader(loaded, ids, logprobs=False, echo=True).echo_at_once()
    scored = reader(loaded, ids, logprobs=True, echo=True)
    rows = [None, *(Sampled(token, -1.0) for token in ids[1:])]
    pieces = [scored.prompt(PromptLogprobs(rows[i : i + step])) for i in range(0, len(rows), step)]
    assert "".join(piece.text for piece in pieces) + scored.rest().text in (whole.text, whole.text + "\ufffd")
    assert [item.token_id for piece in pieces for item in piece.entries or ()] == ids


def test_added_bos_is_scored_but_not_shown(loaded: Loaded) -> None:
    bos = loaded.tokenizer.bos_id
    assert bos is not None
    [piece] = reader(loaded, [bos, 257], 1, logprobs=False, echo=True).echo_at_once()
    assert piece.text == "he"
    [own] = reader(loaded, [bos, 257], 0, logprobs=False, echo=True).echo_at_once()
    assert own.text == "<|bos|>he"


def test_impossible_tokens_stay_json() -> None:
    row = entry(Sampled(1, float("-inf"), ((1, float("-inf")),)), b"")
    assert row.logprob == LOWEST_LOGPROB
    assert row.top == [(1, LOWEST_LOGPROB)]
