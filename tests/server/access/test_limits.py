import contextlib
from contextlib import ExitStack

import pytest
from pararnn_server.access.limits import KeyLimits
from pararnn_server.errors import TooManyRequests


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_places_are_given_back_whatever_happens() -> None:
    limits = KeyLimits(max_running=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="inside"), limits.admitted("one"):
            raise ValueError("inside")


def test_keys_do_not_take_each_others_places() -> None:
    limits = KeyLimits(max_running=1, per_minute=10)
    with (
        limits.admitted("one"),
        limits.admitted("two"),
        pytest.raises(TooManyRequests),
        limits.admitted("one"),
    ):
        pass


def test_rate_fills_up_again_with_time() -> None:
    clock = Clock()
    limits = KeyLimits(per_minute=6, clock=clock)
    for _ in range(6):
        with limits.admitted("one"):
            pass
    with pytest.raises(TooManyRequests) as refused, limits.admitted("one"):
        pass
    assert refused.value.retry_after == pytest.approx(10.0)
    assert refused.value.headers["retry-after"] == "10"
    clock.now += 10.1
    with limits.admitted("one"):
        pass
    with pytest.raises(TooManyRequests), limits.admitted("one"):
        pass


def test_idle_key_saves_up_no_more_than_a_minute() -> None:
    clock = Clock()
    limits = KeyLimits(per_minute=2, clock=clock)
    clock.now += 3600
    for _ in range(2):
        with limits.admitted("one"):
            pass
    with pytest.raises(TooManyRequests), limits.admitted("one"):
        pass


def test_tokens_are_paid_before_the_next_request() -> None:
    clock = Clock()
    limits = KeyLimits(tokens_per_minute=60, clock=clock)
    with limits.admitted("one") as account:
        account.reserve(90)
        account.settle(90)
    with limits.admitted("two"):
        pass
    with pytest.raises(TooManyRequests) as refused, limits.admitted("one"):
        pass
    assert refused.value.retry_after == pytest.approx(31.0)
    clock.now += 31
    with limits.admitted("one"):
        pass


def test_tokens_of_requests_under_way_count_in_full() -> None:
    clock = Clock()
    limits = KeyLimits(tokens_per_minute=100, clock=clock)
    with limits.admitted("one") as first:
        with limits.admitted("one") as second:
            first.reserve(100)
            with pytest.raises(TooManyRequests) as refused:
                second.reserve(1)
            # What is reserved may be given back at any moment.
            assert refused.value.retry_after < 1
        with limits.admitted("two") as other:
            other.reserve(100)
        first.settle(30)
    with limits.admitted("one") as third:
        third.reserve(70)
        with pytest.raises(TooManyRequests), limits.admitted("one"):
            pass


def test_a_key_never_takes_more_than_its_tokens_and_one_request() -> None:
    limits = KeyLimits(tokens_per_minute=100, clock=Clock())
    taken = 0
    with ExitStack() as running:
        for _ in range(40):
            with contextlib.suppress(TooManyRequests):
                account = running.enter_context(limits.admitted("one"))
                account.reserve(30)
                account.settle(30)
                taken += 30
    assert taken == 120


def test_tokens_given_back_are_never_more_than_a_minutes() -> None:
    clock = Clock()
    limits = KeyLimits(tokens_per_minute=100, clock=clock)
    with limits.admitted("one") as account:
        account.reserve(100)
        clock.now += 3600
    with limits.admitted("one") as account:
        account.reserve(100)
        with pytest.raises(TooManyRequests):
            account.check()


def test_a_request_refused_for_its_tokens_counts_as_none() -> None:
    clock = Clock()
    limits = KeyLimits(per_minute=3, tokens_per_minute=60, clock=clock)
    with limits.admitted("one") as account:
        account.reserve(61)
        account.settle(61)
    for _ in range(5):
        with pytest.raises(TooManyRequests), limits.admitted("one"):
            pass
    clock.now += 3
    for _ in range(2):
        with limits.admitted("one"):
            pass


def test_what_takes_no_tokens_passes_when_they_are_spent() -> None:
    limits = KeyLimits(tokens_per_minute=60, clock=Clock())
    with limits.admitted("one") as account:
        account.reserve(60)
        account.settle(60)
    with limits.admitted("one", takes_tokens=False):
        pass


def test_what_ends_work_passes_at_the_limits_and_has_a_rate_of_its_own() -> None:
    limits = KeyLimits(max_running=1, per_minute=1, clock=Clock())
    with limits.admitted("one"):
        with pytest.raises(TooManyRequests), limits.admitted("one"):
            pass
        with limits.admitted("one", takes_tokens=False, ends_work=True):
            pass
        with pytest.raises(TooManyRequests), limits.admitted("one", takes_tokens=False, ends_work=True):
            pass
