"""The last id of a banned sequence is kept out where the others stand before it, and nowhere else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pararnn_core.sampling.banned_sequences import BannedSequences
from pararnn_core.sampling.mask_words import flags_of, mask_of

VOCAB_SIZE = 40
SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=5)


@given(sequences=SEQUENCES, ids=st.lists(st.integers(0, 3), max_size=8))
def test_an_id_is_kept_out_if_and_only_if_it_completes_a_sequence(
    sequences: list[list[int]], ids: list[int]
) -> None:
    banned = BannedSequences(sequences, VOCAB_SIZE)
    words = banned.restricted(None, ids[max(0, len(ids) - banned.longest) :])
    completed = {sequence[-1] for sequence in sequences if [*ids, sequence[-1]][-len(sequence) :] == sequence}
    found = set() if words is None else set(np.flatnonzero(~flags_of(words, VOCAB_SIZE)).tolist())
    assert found == completed


def test_a_mask_holds_too_and_wins_where_nothing_is_left() -> None:
    banned, words = BannedSequences([[1], [2]], VOCAB_SIZE), mask_of([1, 3], VOCAB_SIZE)
    both = banned.restricted(words, [])
    assert both is not None
    assert np.flatnonzero(flags_of(both, VOCAB_SIZE)).tolist() == [3]
    only = mask_of([1, 2], VOCAB_SIZE)
    assert banned.restricted(only, []) is only
