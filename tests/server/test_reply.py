"""What a reply shows and keeps, against the plain cut of its whole text."""

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.reply import Reply, Shown

from pararnn_core.sampler import Sampled
from tests.server.engine_fixtures import LETTER_IDS, TOKEN_BYTES

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
