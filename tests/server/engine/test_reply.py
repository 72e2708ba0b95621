"""Shown and kept text of a reply, against a plain cut of its whole text."""

from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st
from pararnn_server.engine.reply import Reply, Shown

from pararnn_core.sampling.sampler import Sampled
from tests.server.engine_fixtures import LETTER_IDS, SPELLINGS, TOKEN_BYTES

token_lists = st.lists(st.sampled_from(LETTER_IDS), max_size=30)
stop_lists = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def first_stop(text: bytes, stops: list[str]) -> tuple[int, int, str] | None:
    """(start, end, stop string) of the one that ends first, the longest of those."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop.encode())]
        if found:
            longest = max(found, key=len)
            return end - len(longest), end, longest
    return None


def say(reply: Reply, ids: list[int]) -> tuple[list[Shown], str | None]:
    """Pushes ids until a stop string or the end."""
    shown = []
    for token_id in ids:
        part, stop = reply.push(Sampled(token_id))
        shown.append(part)
        if stop is not None:
            return shown, stop
    return [*shown, reply.flush()], None


@given(ids=token_lists, stops=stop_lists)
def test_shown_and_kept_are_the_text_before_the_stop(ids: list[int], stops: list[str]) -> None:
    text = b"".join(TOKEN_BYTES[token_id] for token_id in ids)
    found = first_stop(text, stops)
    cut = len(text) if found is None else found[0]
    reply = Reply(TOKEN_BYTES, stops)
    parts, stop = say(reply, ids)
    assert stop == (None if found is None else found[2])
    assert b"".join(part.text for part in parts) == text[:cut]
    shown_ids = [sampled.token_id for part in parts for sampled in part.sampled]
    assert reply.ids[: reply.num_shown].tolist() == shown_ids == ids[: reply.num_shown]
    whole = b"".join(TOKEN_BYTES[token_id] for token_id in shown_ids)
    assert whole + reply.cut_text() == text[:cut]
    if found is None:
        assert reply.num_shown == len(ids)


@given(ids=token_lists, stops=stop_lists)
def test_an_id_is_shown_with_its_last_byte_and_never_taken_back(ids: list[int], stops: list[str]) -> None:
    reply = Reply(TOKEN_BYTES, stops)
    text, shown = b"", []
    for part in say(reply, ids)[0]:
        text += part.text
        shown += [sampled.token_id for sampled in part.sampled]
        whole = b"".join(TOKEN_BYTES[token_id] for token_id in shown)
        assert text.startswith(whole)


@given(ids=token_lists)
def test_without_stops_everything_is_shown_at_once(ids: list[int]) -> None:
    reply = Reply(TOKEN_BYTES, [])
    for token_id in ids:
        shown, _ = reply.push(Sampled(token_id))
        assert shown == ([Sampled(token_id)], TOKEN_BYTES[token_id])
        assert not reply.holds_back


SPECIAL_STOPS = st.lists(
    st.lists(st.sampled_from(["a", "b", "<", ">", *SPELLINGS.values()]), min_size=1, max_size=3).map("".join),
    min_size=1,
    max_size=4,
)
SPECIAL_REPLIES = st.lists(st.sampled_from([*LETTER_IDS, *b"<>", *SPELLINGS]), max_size=30)


def spelled(ids: list[int]) -> bytes:
    return b"".join(SPELLINGS.get(i, "").encode() or TOKEN_BYTES[i] for i in ids)


class Expected(NamedTuple):
    """text, ids: those before the stop."""

    text: bytes
    ids: list[int]
    stop: str | None


def expected_of(ids: list[int], stops: list[str]) -> Expected:
    """Look for every stop again at every byte of the whole text, and of the whole text with spellings."""
    named = [stop for stop in stops if any(name in stop for name in SPELLINGS.values())]
    text, whole, ends = b"", b"", []
    places: list[tuple[int, int]] = []
    found: tuple[int, int, str] | None = None
    for token_id in ids:
        for byte in spelled([token_id]):
            whole += bytes([byte])
            in_text: list[str] = []
            if token_id not in SPELLINGS:
                text += bytes([byte])
                places.append((len(text), len(whole)))
                in_text = [stop for stop in stops if text.endswith(stop.encode())]
            in_whole = [stop for stop in named if whole.endswith(stop.encode())]
            if found is None and in_text + in_whole:
                found = (
                    len(text) - max(map(len, in_text), default=0),
                    len(whole) - max(map(len, in_whole), default=0),
                    max(in_text + in_whole, key=len),
                )
        ends.append((len(text), len(whole)))
    if found is None:
        return Expected(text, ids, None)
    before = [place for place in places if place[0] <= found[0] and place[1] <= found[1]]
    kept = [end for end in ends if end[0] <= found[0] and end[1] <= found[1]]
    return Expected(text[: len(before)], ids[: len(kept)], found[2])


@example(ids=[ord("a"), 261], stops=["<a>"])
@example(ids=[ord("a"), 261, ord("b"), ord("c")], stops=["a<a>b"])
@example(ids=[ord("c"), 257, 261, 261, 257], stops=["c<a><a>b"])
@example(ids=[*b"c<a>"], stops=["<a>"])
@example(ids=[ord("a"), 261, ord("b")], stops=["ab"])
@example(ids=[ord("a"), 261, 262], stops=["a<a>b"])
@given(ids=SPECIAL_REPLIES, stops=SPECIAL_STOPS)
def test_special_tokens_match_by_their_spelling_and_show_nothing(ids: list[int], stops: list[str]) -> None:
    expected = expected_of(ids, stops)
    reply = Reply(TOKEN_BYTES, stops, SPELLINGS)
    parts, stop = say(reply, ids)
    text = b"".join(part.text for part in parts)
    shown_ids = [sampled.token_id for part in parts for sampled in part.sampled]
    assert Expected(text, shown_ids, stop) == expected
    assert reply.ids[: reply.num_shown].tolist() == shown_ids
    assert b"".join(TOKEN_BYTES[token_id] for token_id in shown_ids) + reply.cut_text() == text
    kept = spelled(shown_ids) + reply.cut_text()
    for one in stops:
        assert one.encode() not in text
        assert one.encode() not in kept or not any(name in one for name in SPELLINGS.values())


@given(ids=SPECIAL_REPLIES, stops=SPECIAL_STOPS)
def test_text_never_runs_past_the_first_id_held_back(ids: list[int], stops: list[str]) -> None:
    reply, text, shown = Reply(TOKEN_BYTES, stops, SPELLINGS), b"", 0
    for part in say(reply, ids)[0]:
        text += part.text
        shown += len(part.sampled)
        whole = b"".join(TOKEN_BYTES[token_id] for token_id in ids[: shown + 1])
        assert whole.startswith(text)


@given(ids=token_lists, stops=stop_lists, first=st.integers(0, 10))
def test_no_stop_string_ends_the_first_ids(ids: list[int], stops: list[str], first: int) -> None:
    """Text of the first ids may begin a stop string, and does not end one."""
    reply, text, shown = Reply(TOKEN_BYTES, stops), b"", b""
    for place, token_id in enumerate(ids):
        before, text = len(text), text + TOKEN_BYTES[token_id]
        ends = [
            end
            for end in range(before + 1, len(text) + 1)
            for stop in stops
            if text[:end].endswith(stop.encode())
        ]
        part, found = reply.push(Sampled(token_id), may_stop=place >= first)
        shown += part.text
        assert (found is not None) == (place >= first and bool(ends))
        if found is not None:
            assert shown == text[: ends[0] - len(found)]
            return
    assert shown + reply.flush().text == text


@given(ids=token_lists, stops=stop_lists)
def test_shown_stop_string_is_the_end_of_the_text(ids: list[int], stops: list[str]) -> None:
    text = b"".join(TOKEN_BYTES[token_id] for token_id in ids)
    found = first_stop(text, stops)
    reply = Reply(TOKEN_BYTES, stops, shows_stop=True)
    parts, _ = say(reply, ids)
    assert b"".join(part.text for part in parts) == text[: len(text) if found is None else found[1]]
    kept = b"".join(TOKEN_BYTES[token_id] for token_id in reply.ids[: reply.num_shown])
    assert kept + reply.cut_text() == b"".join(part.text for part in parts)
