"""Outputs reach their request's callback. A callback that raises affects no other request."""

from pararnn_server.engine.publisher import Publisher
from pararnn_server.engine.request import Finished, Output, Request, Started, Tokens, TokenUsage
from pararnn_server.engine.running import Running

from pararnn_core.sampling_params import SamplingParams
from tests.server.metrics_fixtures import new_metrics, values


def running(outputs: list[Output] | None, arrived_at: float = 0.0) -> Running:
    """A request whose callback notes its outputs, or raises for None."""

    def emit(output: Output) -> None:
        if outputs is None:
            raise RuntimeError("the loop is closed")
        outputs.append(output)

    request = Request(request_id="r", prompt_token_ids=[1], params=SamplingParams(), emit=emit)
    return Running(request, None, arrived_at, queue_timeout=1.0)


def test_outputs_arrive_in_order() -> None:
    outputs: list[Output] = []
    publisher, one = (
        Publisher(new_metrics(), lambda: 3.0),
        running(outputs, arrived_at=1.0),
    )
    tokens = Tokens(0, [5], b"a", None, 1)
    end = Finished(0, "stop", None, TokenUsage(1, 1))
    publisher.publish(one, Started("r"))
    publisher.publish_tokens(one, tokens)
    publisher.publish_tokens(one, None)
    publisher.publish_end(one, end)
    assert outputs == [Started("r"), tokens, end]
    assert publisher.take_disconnected() == []


def test_a_callback_that_raises_is_reported_once_and_raises_nothing() -> None:
    publisher, gone, there = (
        Publisher(new_metrics(), lambda: 0.0),
        running(None),
        running([]),
    )
    publisher.publish(gone, Started("r"))
    publisher.publish(there, Started("r"))
    assert publisher.take_disconnected() == [gone]
    assert publisher.take_disconnected() == []


def test_tokens_are_recorded_only_where_a_request_may_be_repeated() -> None:
    publisher, one = Publisher(new_metrics(), lambda: 0.0), running([])
    publisher.publish_tokens(one, Tokens(0, [5], b"a", None, 1))
    assert one.published == []


def test_latency_counts_replies_that_ended_by_themselves_and_none_that_was_aborted() -> None:
    metrics = new_metrics()
    publisher, one = Publisher(metrics, lambda: 3.0), running([], arrived_at=1.0)
    publisher.publish_end(one, Finished(0, "stop", None, TokenUsage(1, 1)))
    publisher.publish_early_end(one, Finished(0, "abort", None, TokenUsage(1, 0)))
    found = values(metrics.server)
    assert found["e2e_request_latency_seconds_sum"] == 2.0
    assert found["e2e_request_latency_seconds_count"] == 1.0
