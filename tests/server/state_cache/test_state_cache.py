"""The cache as pure data: what it finds, what it may hold, and that owners and salts never meet."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.state_cache.prefix_tree import pack_ids
from pararnn_server.state_cache.state_cache import Partition, StateCache

from pararnn_core.state import StatePart, StateSnapshot

SIZE = 100
PARTS = (StatePart("cell", (SIZE,), torch.uint8),)
ADA, BOB = Partition("ada"), Partition("bob")


def snapshot(mark: int = 0) -> StateSnapshot:
    return StateSnapshot(PARTS, torch.full((SIZE,), mark % 256, dtype=torch.uint8))


def never() -> StateSnapshot:
    raise AssertionError("the state was copied although it is there")


def put(cache: StateCache, partition: Partition, ids: Any, mark: int = 0) -> None:
    cache.put(partition, pack_ids(ids), len(ids), lambda: snapshot(mark))


def hit(cache: StateCache, partition: Partition, ids: Any) -> int:
    """Return the number of a prompt's ids that the cache finds."""
    return cache.longest(partition, pack_ids(ids))


Entry = tuple[str, str | None, list[int]]
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob"]),
        st.sampled_from([None, "salt"]),
        st.lists(st.integers(0, 2), min_size=1, max_size=8),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(ENTRIES, ENTRIES)
def test_the_longest_exact_prefix_of_the_own_partition_is_found(
    kept: list[Entry], asked: list[Entry]
) -> None:
    cache = StateCache(1 << 20)
    states: dict[tuple[Partition, tuple[int, ...]], StateSnapshot] = {}
    for mark, (owner, salt, ids) in enumerate(kept):
        key = Partition(owner, salt), tuple(ids)
        put(cache, key[0], ids, mark)
        states.setdefault(key, snapshot(mark))
    for owner, salt, ids in asked:
        partition = Partition(owner, salt)
        prefixes = [
            tuple(ids[:end]) for end in range(len(ids), 0, -1) if (partition, tuple(ids[:end])) in states
        ]
        found = cache.find(partition, pack_ids(ids))
        if not prefixes:
            assert found is None
        else:
            assert found is not None
            assert found.num_tokens == len(prefixes[0])
            assert found.snapshot == states[partition, prefixes[0]]


@settings(max_examples=200)
@given(ENTRIES, st.integers(0, 600))
def test_no_owner_holds_more_than_the_budget(kept: list[Entry], budget: int) -> None:
    cache = StateCache(budget)
    for owner, salt, ids in kept:
        put(cache, Partition(owner, salt), ids)
        assert cache.nbytes <= 2 * budget
        if SIZE + 4 * len(ids) <= budget:
            assert hit(cache, Partition(owner, salt), ids) == len(ids)


def test_bytes_are_those_of_states_and_ids() -> None:
    cache = StateCache(1000)
    put(cache, ADA, range(10))
    put(cache, ADA, range(20))
    put(cache, BOB, range(5))
    assert cache.nbytes == 3 * SIZE + 4 * (20 + 5)


def test_the_least_recently_used_state_goes_first() -> None:
    cache = StateCache(3 * SIZE + 3 * 8)
    for first in range(3):
        put(cache, ADA, [first, 9])
    assert hit(cache, ADA, [0, 9, 5]) == 2
    put(cache, ADA, [3, 9])
    assert [hit(cache, ADA, [first, 9]) for first in range(4)] == [2, 0, 2, 2]


def test_one_owner_never_displaces_what_another_holds() -> None:
    cache = StateCache(2 * SIZE)
    put(cache, ADA, [1, 2])
    for i in range(100):
        put(cache, BOB, [i, 1])
    assert hit(cache, ADA, [1, 2]) == 2


def test_what_is_there_is_not_copied_again_and_counts_as_used() -> None:
    cache = StateCache(2 * SIZE + 16)
    put(cache, ADA, [1, 2])
    put(cache, ADA, [3, 4])
    cache.put(ADA, pack_ids([1, 2]), 2, never)
    put(cache, ADA, [5, 6])
    assert [hit(cache, ADA, ids) for ids in ([1, 2], [3, 4], [5, 6])] == [2, 0, 2]


@pytest.mark.parametrize("take", [lambda: None, snapshot], ids=["refused", "too large"])
def test_what_cannot_be_kept_leaves_no_trace(take: Callable[[], StateSnapshot | None]) -> None:
    cache = StateCache(SIZE)
    cache.put(ADA, pack_ids([1, 2, 3]), 3, take)
    assert cache.nbytes == 0
    assert hit(cache, ADA, [1, 2, 3]) == 0


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["put", "promise", "longest"]),
        st.sampled_from([ADA, Partition("ada", "salt"), BOB]),
        st.lists(st.integers(0, 2), min_size=1, max_size=8),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(CALLS, st.integers(SIZE, 6 * SIZE))
def test_what_is_counted_does_not_depend_on_when_a_promise_is_kept(calls: list[Any], budget: int) -> None:
    """Kept at once, never, or at some time: every search gives the same count."""
    seen: list[list[int]] = []
    for when in ("at once", "never", "at some time"):
        cache, counts, owed = StateCache(budget), [], []
        for what, partition, ids, later in calls:
            packed = pack_ids(ids)
            if what == "put":
                cache.put(partition, packed, len(ids), snapshot)
            elif what == "promise":
                cache.promise(partition, packed, len(ids), SIZE)
                owed.append((partition, packed, len(ids)))
            else:
                counts.append(cache.longest(partition, packed))
            if when == "at once" or (when == "at some time" and later):
                for promise in owed:
                    cache.fill(*promise, snapshot)
                owed.clear()
            assert cache.nbytes <= 2 * budget
        seen.append(counts)
    assert seen[0] == seen[1] == seen[2]


def test_a_promise_that_was_displaced_is_not_filled() -> None:
    cache = StateCache(2 * SIZE)
    cache.promise(ADA, pack_ids([1, 2]), 2, SIZE)
    assert cache.owes(ADA, pack_ids([1, 2]), 2)
    assert cache.nbytes == 8
    put(cache, ADA, [3, 4])
    assert not cache.owes(ADA, pack_ids([1, 2]), 2)
    cache.fill(ADA, pack_ids([1, 2]), 2, never)
    assert hit(cache, ADA, [1, 2]) == 0
    assert cache.nbytes == SIZE + 8


def test_a_million_ids_are_found_by_comparing_them() -> None:
    ids = pack_ids(range(1_000_000))
    cache = StateCache(100 << 20)
    for num_tokens in range(1024, 1_000_000, 1024):
        cache.put(ADA, ids, num_tokens, snapshot)
    found = cache.find(ADA, ids)
    assert found is not None
    assert found.num_tokens == 1_000_000 // 1024 * 1024
    other = ids[: 500_000 * 4] + pack_ids([7]) + ids[500_001 * 4 :]
    found = cache.find(ADA, other)
    assert found is not None
    assert found.num_tokens == 500_000 // 1024 * 1024


def test_a_pinned_state_stays_for_its_time() -> None:
    now = [100.0]
    cache = StateCache(4 * (SIZE + 4), lambda: now[0])
    put(cache, ADA, [1])
    cache.pin(ADA, pack_ids([1]), 1, 30.0)
    for other in range(2, 10):
        put(cache, ADA, [other])
    assert hit(cache, ADA, [1]) == 1
    now[0] += 31.0
    put(cache, ADA, [20])
    cache.pin(ADA, pack_ids([20]), 1, 30.0)
    for other in range(2, 10):
        put(cache, ADA, [other])
    assert hit(cache, ADA, [1]) == 0
    assert hit(cache, ADA, [20]) == 1


def test_pins_take_at_most_half_of_a_share_and_the_first_to_end_goes() -> None:
    cache = StateCache(6 * (SIZE + 4), lambda: 0.0)
    for place in range(1, 6):
        put(cache, ADA, [place])
        cache.pin(ADA, pack_ids([place]), 1, 10.0 * place)
    for other in range(10, 30):
        put(cache, ADA, [other])
    assert [hit(cache, ADA, [place]) for place in range(1, 6)] == [0, 0, 1, 1, 1]
    assert hit(cache, ADA, [29]) == 1


def test_what_is_not_there_is_not_pinned_and_no_other_owner_notices() -> None:
    cache = StateCache(2 * (SIZE + 4), lambda: 0.0)
    put(cache, ADA, [1, 2])
    put(cache, BOB, [1])
    for ids in ([1], [1, 2, 3], [7]):
        cache.pin(ADA, pack_ids(ids), len(ids), 30.0)
    cache.pin(Partition("nobody"), pack_ids([1]), 1, 30.0)
    for other in range(10, 13):
        put(cache, BOB, [other])
    assert hit(cache, BOB, [1]) == 0
    assert hit(cache, ADA, [1, 2]) == 2


@settings(max_examples=200)
@given(ENTRIES, st.integers(0, 600), st.lists(st.booleans(), max_size=30), st.floats(1, 9))
def test_pins_never_exceed_the_budget(
    kept: list[Entry], budget: int, pins: list[bool], seconds: float
) -> None:
    now = [0.0]
    cache = StateCache(budget, lambda: now[0])
    for (owner, salt, ids), pinned in zip(kept, pins, strict=False):
        now[0] += 1.0
        partition = Partition(owner, salt)
        put(cache, partition, ids)
        if pinned:
            cache.pin(partition, pack_ids(ids), len(ids), seconds)
        assert cache.nbytes <= 2 * budget
        if SIZE + 4 * len(ids) <= budget // 2:
            assert hit(cache, partition, ids) == len(ids)
