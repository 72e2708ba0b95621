import pytest
from pararnn_server.errors import TooManyRequests
from pararnn_server.limits import KeyLimits


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
    with limits.admitted("one"):
        limits.charge("one", 90)
    with limits.admitted("two"):
        pass
    with pytest.raises(TooManyRequests) as refused, limits.admitted("one"):
        pass
    assert refused.value.retry_after == pytest.approx(31.0)
    clock.now += 31
    with limits.admitted("one"):
        pass


def test_a_request_refused_for_its_tokens_counts_as_none() -> None:
    clock = Clock()
    limits = KeyLimits(per_minute=2, tokens_per_minute=60, clock=clock)
    limits.charge("one", 61)
    for _ in range(5):
        with pytest.raises(TooManyRequests), limits.admitted("one"):
            pass
    clock.now += 3
    for _ in range(2):
        with limits.admitted("one"):
            pass
