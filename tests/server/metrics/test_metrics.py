"""Values of /metrics against the requests to the engine."""

import re

import pytest
from pararnn_server.errors import TooManyRequests
from pararnn_server.metrics.metrics import PoolStats, ServerMetrics
from pararnn_server.metrics.tiers import TierTotal
from prometheus_client.parser import text_string_to_metric_families

from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.server.engine_fixtures import Bench, Steps, greedy, model, running
from tests.server.metrics_fixtures import new_metrics, values
from tests.server.session_fixtures import ADA, BOB

GAUGES = {
    "num_requests_running",
    "num_requests_waiting",
    "state_slots_used",
    "state_slots",
    "state_cache_bytes",
    "sessions",
    "session_state_bytes",
    "resident_memory_bytes",
}
COUNTERS = {
    "prompt_tokens_total",
    "prompt_tokens_cached_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "idle_prefill_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "admission_rejections_total",
    "newton_fallbacks_total",
    "state_moves_total",
}
HISTOGRAMS = {
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "newton_iterations",
    "newton_residual",
    "state_move_seconds",
    "store_commit_seconds",
}


def test_every_family_bears_its_published_name_and_type() -> None:
    text = Bench().metrics.server.render().decode()
    types = dict(re.findall(r"^# TYPE pararnn_(\S+) (\S+)$", text, re.MULTILINE))
    assert {name for name, kind in types.items() if kind == "gauge"} == GAUGES
    assert {name for name, kind in types.items() if kind == "counter"} == COUNTERS
    assert {name for name, kind in types.items() if kind == "histogram"} == HISTOGRAMS
    assert "# TYPE pararnn_" in text
    process = re.findall(r"^# TYPE process_", text, re.MULTILINE)
    assert text.count("# TYPE") == len(types) + len(process)
    assert "_created" not in text


def test_requests_are_counted_as_they_were() -> None:
    with running(max_num_seqs=4) as bench:
        for _ in range(3):
            bench.ask([1, 2, 3, 4], greedy(5))
        bench.ask([1, 2], greedy(2), num_choices=2)
        bench.ask([1, 2], greedy(0))
        found = values(bench.metrics.server)
    assert found["prompt_tokens_total"] == 3 * 4 + 2 + 2
    assert found["generation_tokens_total"] == 3 * 5 + 2 * 2
    assert found["request_success_total{finished_reason=length}"] == 6
    assert found["time_to_first_token_seconds_count"] == 5
    assert found["inter_token_latency_seconds_count"] == 3 * 4 + 2
    assert found["request_queue_time_seconds_count"] == 5
    assert found["request_prefill_time_seconds_count"] == 5
    assert found["e2e_request_latency_seconds_count"] == found["request_decode_time_seconds_count"] == 6
    assert found["newton_fallbacks_total"] == found["newton_iterations_count"] == 0


def test_times_are_those_of_the_clock() -> None:
    steps = Steps(max_num_seqs=1, max_num_batched_tokens=5)
    steps.add([1] * 5, greedy(3))
    steps.add([2] * 10, greedy(2))
    steps.finish()
    found = values(steps.metrics.server)
    sums = {
        "request_queue_time": 0.1 + 0.4,
        "time_to_first_token": 0.1 + 0.5,
        "inter_token_latency": 0.2 + 0.1,
        "request_prefill_time": 0.0 + 0.1,
        "request_decode_time": 0.2 + 0.1,
        "e2e_request_latency": 0.3 + 0.6,
    }
    assert {name: found[f"{name}_seconds_sum"] for name in sums} == pytest.approx(sums)


def test_rejections_are_counted_by_reason() -> None:
    bench = Bench(max_num_seqs=1, max_queue=0)
    bench.submit([1], greedy(1))
    with pytest.raises(TooManyRequests):
        bench.submit([1], greedy(1))
    found = values(bench.metrics.server)
    assert found["admission_rejections_total{reason=queue_full}"] == 1
    steps = Steps(max_num_seqs=1, queue_timeout=1.0)
    steps.add([1], greedy(100))
    steps.add([1], greedy(1))
    steps.step(20)
    assert values(steps.metrics.server)["admission_rejections_total{reason=queue_timeout}"] == 1


def test_pool_and_sessions_are_measured_when_read() -> None:
    with running(max_num_seqs=3) as bench:
        bench.sessions.create(ADA)
        session = bench.sessions.create(BOB).id
        bench.ask([1], greedy(2), session_id=session, owner="bob")
        found = values(bench.metrics.server)
        kept = sum(bench.sessions.ledger.store.usage(owner).nbytes for owner in ("ada", "bob"))
    assert found["sessions{tier=host}"] == 2
    assert found["session_state_bytes{tier=host}"] == kept > state_bytes(model().config)
    assert found["session_state_bytes{tier=store}"] == found["sessions{tier=store}"] == 0
    assert found["sessions{tier=device}"] == 0
    assert (
        found["state_moves_total{from=host,to=device}"]
        == found["state_moves_total{from=device,to=host}"]
        == 1
    )
    assert found["store_commit_seconds_count"] == 1
    assert (found["state_slots_used"], found["state_slots"]) == (0, 3)


def test_two_apps_in_one_process_do_not_meet() -> None:
    first, second = new_metrics(), new_metrics()
    first.generation_tokens.inc(5)
    assert values(second.server)["generation_tokens_total"] == 0


def test_models_of_one_server_share_families_and_no_series() -> None:
    server = ServerMetrics()
    for name, count in (("a", 5), ("b", 7)):
        metrics = server.of_model(name)
        metrics.generation_tokens.inc(count)
        metrics.request_success.labels("stop").inc(count)
        metrics.watch(lambda count=count: PoolStats(count, 0, 0, 0, 0), dict)
    found = values(server)
    for name, count in (("a", 5), ("b", 7)):
        assert found[f"generation_tokens_total{{model={name}}}"] == count
        assert found[f"request_success_total{{finished_reason=stop,model={name}}}"] == count
        assert found[f"num_requests_running{{model={name}}}"] == count


def test_gauges_are_what_they_are_told() -> None:
    metrics = new_metrics()
    metrics.watch(lambda: PoolStats(1, 2, 3, 4, 7), lambda: {"host": TierTotal(5, 6)})
    found = values(metrics.server)
    names = ("num_requests_running", "num_requests_waiting", "state_slots_used", "state_slots")
    assert [found[name] for name in names] == [1, 2, 3, 4]
    assert found["state_cache_bytes"] == 7
    assert (found["sessions{tier=host}"], found["session_state_bytes{tier=host}"]) == (5, 6)


def test_only_counters_end_in_total() -> None:
    """The check is the same as that of promtool."""
    types = re.findall(r"^# TYPE (\S+) (\S+)$", Bench().metrics.server.render().decode(), re.MULTILINE)
    assert {kind for name, kind in types if name.endswith("_total")} == {"counter"}
    assert all(name.endswith("_total") for name, kind in types if kind == "counter")


def test_labelled_metrics_begin_at_zero() -> None:
    families = text_string_to_metric_families(new_metrics().server.render().decode())
    empty = {family.name for family in families if not family.samples}
    assert not empty
    found = values(new_metrics().server)
    assert found["request_success_total{finished_reason=stop}"] == 0
    assert found["admission_rejections_total{reason=queue_full}"] == 0
    assert found["state_moves_total{from=device,to=host}"] == 0


def test_process_is_measured_under_the_standard_names() -> None:
    found = values(Bench().metrics.server)
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["process_open_fds"] > 2
