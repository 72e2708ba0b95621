"""Stop strings against a search through the whole text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.stop import StopMatcher

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
    shown = b""
    matched = None
    for piece in split(text.encode(), cuts):
        safe, matched = matcher.push(piece)
        shown += safe
        if matched is not None:
            break
    expected = oracle(text.encode(), stops)
    if expected is None:
        assert matched is None
        assert shown + matcher.flush() == text.encode()
    else:
        assert (len(shown), matched) == expected
        assert shown == text.encode()[: len(shown)]


@given(stops=stop_lists, text=texts)
def test_no_more_is_held_back_than_may_become_a_stop(stops: list[str], text: str) -> None:
    matcher = StopMatcher(stops)
    seen = b""
    for byte in text.encode():
        seen += bytes([byte])
        if matcher.push(bytes([byte]))[1] is not None:
            return
        beginnings = [stop.encode()[:size] for stop in stops for size in range(1, len(stop.encode()))]
        assert matcher.held == max((len(part) for part in beginnings if seen.endswith(part)), default=0)


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
    assert StopMatcher(stops).push(text) == (shown, matched)
