import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.access.body_budget import BodyBudget, BodyLease
from pararnn_server.errors import TooManyRequests

Steps = list[tuple[str, int, bool]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=40))
def test_bytes_held_never_pass_the_budget_and_all_are_given_back(steps: Steps) -> None:
    budget, held = BodyBudget(120, 60, 3), dict.fromkeys("abc", 0)
    leases = {owner: BodyLease(budget, owner) for owner in "abc"}
    for owner, num_bytes, ends in steps:
        try:
            leases[owner].expect(num_bytes)
        except TooManyRequests:
            with pytest.raises(TooManyRequests):
                leases[owner].add(num_bytes)
            # A key's own part is available for any use by other keys.
            assert held[owner] + num_bytes > 20
        else:
            leases[owner].add(num_bytes)
            held[owner] += num_bytes
        if ends:
            leases[owner].close()
            held[owner] = 0
        assert held[owner] <= 60
        assert budget.held_bytes == sum(held.values()) <= 120
    for lease in leases.values():
        lease.close()
        lease.close()
    assert budget.held_bytes == 0


def test_largest_body_fits_where_there_are_many_keys() -> None:
    for num_keys in (1, 2, 1000):
        BodyBudget(64, 48, num_keys).check("one", 32)
