from __future__ import annotations

import pytest
from pararnn_client import ConnectionFailed, PararnnError, RetryPolicy, StatusError
from pararnn_client.retries import Attempts

_POLICY = RetryPolicy(max_retries=3, first_wait=1.0, longest_wait=5.0)


def _status(status: int, **fields: float | bool) -> StatusError:
    return StatusError("no", status=status, **fields)  # type: ignore[arg-type]  # the fields vary by case


def _wait(failure: PararnnError, *, repeatable: bool, retries_done: int = 0) -> float | None:
    return _POLICY.wait_before_retry(retries_done, failure, repeatable=repeatable, jitter=1.0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_refused_before_it_began_is_repeated_whatever_it_is(status: int) -> None:
    assert _wait(_status(status), repeatable=False) == 1.0


@pytest.mark.parametrize("failure", [_status(500), _status(504), ConnectionFailed("", request_sent=True)])
def test_a_request_that_may_have_worked_is_repeated_only_when_harmless(failure: PararnnError) -> None:
    assert _wait(failure, repeatable=False) is None
    assert _wait(failure, repeatable=True) is not None


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 413])
def test_a_refusal_that_waiting_does_not_mend_is_never_repeated(status: int) -> None:
    assert _wait(_status(status), repeatable=True) is None


def test_a_request_that_was_never_sent_is_repeated() -> None:
    assert _wait(ConnectionFailed("", request_sent=False), repeatable=False) is not None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_x_should_retry_false_ends_it(status: int) -> None:
    assert _wait(_status(status, should_retry=False), repeatable=True) is None


def test_retry_after_is_kept_to_the_second_or_not_tried() -> None:
    assert _wait(_status(429, retry_after=4.0), repeatable=False) == 4.0
    assert _wait(_status(429, retry_after=6.0), repeatable=False) is None


def test_waits_double_up_to_the_longest_and_end_after_the_last_retry() -> None:
    policy = RetryPolicy(max_retries=5, first_wait=1.0, longest_wait=5.0)
    waits = [policy.wait_before_retry(done, _status(429), repeatable=False, jitter=1.0) for done in range(6)]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, None]


def test_attempts_raise_the_failure_itself_when_spent() -> None:
    attempts = Attempts(RetryPolicy(max_retries=1, first_wait=0.0), repeatable=True)
    failure = _status(429)
    attempts.wait_after(failure)
    with pytest.raises(StatusError) as caught:
        attempts.wait_after(failure)
    assert caught.value is failure
