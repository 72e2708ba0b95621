"""The window of repetition_penalty holds the last ids, whatever came before them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pararnn_core.sampling.repeat_window import RepeatWindow

VOCAB_SIZE = 21
IDS = st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=40)


def held(bitmap: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist())


@given(size=st.integers(0, 12), ids=IDS, later=IDS)
def test_bitmap_holds_the_last_ids(size: int, ids: list[int], later: list[int]) -> None:
    window = RepeatWindow(size, VOCAB_SIZE, ids)
    assert held(window.bitmap) == set(ids[max(0, len(ids) - size) :])
    both = [*ids, *later]
    expected = set(both[max(0, len(both) - size) :])
    assert held(window.after(later)) == expected
    for token_id in later:
        window.push(token_id)
    assert held(window.bitmap) == expected
