from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from pararnn_client.sse import EventDecoder

_STREAM = (
    b': ping\n\ndata: {"a": "\xc3\xa9"}\r\n\r\nevent: x\ndata: one\ndata: two\n\n\n\ndata:[DONE]\n\ndata: cut'
)
_EVENTS = ['{"a": "é"}', "one\ntwo", "[DONE]"]


@given(cuts=st.lists(st.integers(0, len(_STREAM)), max_size=12))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(_STREAM)]
    decoder = EventDecoder()
    events = [event for start, end in itertools.pairwise(edges) for event in decoder.feed(_STREAM[start:end])]
    assert events == _EVENTS
