"""Stop strings against a search through the whole text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.engine.stop import Limit, StopMatcher

LETTERS = "abé"
stop_lists = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4)
texts = st.text(LETTERS, max_size=40)
cut_lists = st.lists(st.integers(0, 200), max_size=40)


def oracle(text: bytes, stops: list[str]) -> tuple[int, str] | None:
    """(cut, stop string) of the stop that ends first, the longest of those that end together."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop.encode())]
        if found:
            longest = max(found, key=lambda stop: len(stop.encode()))
            return end - len(longest.encode()), longest
    return None


def split(text: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(stops=stop_lists, text=texts, cuts=cut_lists)
def test_any_split_of_the_text_gives_the_cut_of_the_whole(
    stops: list[str], text: str, cuts: list[int]
) -> None:
    matcher = StopMatcher(stops)
    limit, matched = Limit(0, 0), None
    for piece in split(text.encode(), cuts):
        before = limit
        limit, matched = matcher.push(piece)
        assert before.text <= limit.text
        if matched is not None:
            break
    expected = oracle(text.encode(), stops)
    assert matched == (None if expected is None else expected[1])
    if expected is not None:
        assert limit.text == expected[0]


@given(stops=stop_lists, text=texts)
def test_no_more_is_held_back_than_may_become_a_stop(stops: list[str], text: str) -> None:
    matcher = StopMatcher(stops)
    seen = b""
    for byte in text.encode():
        seen += bytes([byte])
        limit, stop = matcher.push(bytes([byte]))
        if stop is not None:
            return
        beginnings = [stop.encode()[:size] for stop in stops for size in range(1, len(stop.encode()))]
        held = max((len(part) for part in beginnings if seen.endswith(part)), default=0)
        assert limit == (len(seen) - held, len(seen))


@pytest.mark.parametrize(
    ("stops", "text", "shown", "matched"),
    [
        (["abcd", "bc"], b"xabcd", b"xa", "bc"),
        (["c", "abc"], b"xabc", b"x", "abc"),
        (["\n\n"], b"a\nb\n\nc", b"a\nb", "\n\n"),
        (["aab"], b"aaaab", b"aa", "aab"),
        ([], b"abc", b"abc", None),
    ],
)
def test_overlapping_stops(stops: list[str], text: bytes, shown: bytes, matched: str | None) -> None:
    limit, stop = StopMatcher(stops).push(text)
    assert (text[: limit.text], stop) == (shown, matched)


def test_a_stop_that_names_no_whole_special_token_is_looked_for_in_the_text_only() -> None:
    matcher = StopMatcher(["|>", "user"], ["<|user|>"])
    assert matcher.push(b"<|user|>", is_special=True) == ((0, 8), None)
    assert matcher.push(b"x|>")[1] == "|>"


def test_the_spelling_of_a_special_token_ends_the_text_as_that_token_and_as_characters() -> None:
    for is_special in (True, False):
        matcher = StopMatcher(["<|user|>"], ["<|user|>"])
        matcher.push(b"x")
        assert matcher.push(b"<|user|>", is_special=is_special) == ((1, 1), "<|user|>")
