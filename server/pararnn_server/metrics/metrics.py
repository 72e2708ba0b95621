"""The metrics of /metrics, in a registry of their own: two apps in one process share nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pararnn_core.models.base import NewtonReport
from pararnn_server.metrics.memory import resident_memory_bytes
from pararnn_server.metrics.tiers import Tier, TierTotal

M = TypeVar("M", Counter, Histogram)

PREFIX = "pararnn"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_STEP_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2.5, 10)
_COMMIT_SECONDS = (0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_FINISHED_REASONS = ("stop", "length", "cancelled")
_REJECTIONS = ("queue_full", "queue_timeout", "draining")
_MOVES: tuple[tuple[Tier, Tier], ...] = (
    ("store", "host"),
    ("host", "device"),
    ("device", "host"),
    ("host", "store"),
)
_ITERATIONS = (1, 2, 3, 4, 5, 6, 7, 8)
_RESIDUALS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1)


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The engine at one moment. Requests run once they have a slot."""

    num_requests_running: int
    num_requests_waiting: int
    state_slots_used: int
    state_slots_total: int
    state_cache_bytes: int


class ServerMetrics:
    """The series of one server. What an engine and its sessions count carries the name of their model."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # A registry of our own lacks the process's series, which the global one has.
        ProcessCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges = _Gauges()

    def of_model(self, model: str) -> Metrics:
        """Return the counters of one model, all at zero."""
        return Metrics(self, model)

    def watch_pool(self, model: str, pool: Callable[[], PoolStats]) -> None:
        """Add the gauges of a model's engine. They are read on the thread that reads /metrics."""
        if not self._gauges.pools:
            self.registry.register(self._gauges)
        self._gauges.pools[model] = pool

    def watch_sessions(self, sessions: Callable[[], Mapping[Tier, TierTotal]]) -> None:
        """Add the gauges of the store, which all models share."""
        self._gauges.sessions = sessions

    def watch_threads(self, still_seconds: Callable[[], Mapping[str, float]]) -> None:
        """Add the gauge of threads that all requests share."""
        self.registry.register(_Threads(still_seconds))

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return the counter of this name, with a label for the model before the others."""
        # Several models share a family; the library refuses a second of the same name.
        if name not in self._counters:
            names = ("model", *labels)
            self._counters[name] = Counter(name, text, names, namespace=PREFIX, registry=self.registry)
        return self._counters[name]

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """Return the histogram of this name, with a label for the model before the others."""
        if name not in self._histograms:
            self._histograms[name] = Histogram(
                name, text, ("model", *labels), namespace=PREFIX, registry=self.registry, buckets=buckets
            )
        return self._histograms[name]

    def render(self) -> bytes:
        """Return all series in Prometheus' text format."""
        return generate_latest(_WithoutCreated(self.registry))


class _Labelled(Generic[M]):
    """A family of series of which the model is known, and the other labels are not yet."""

    def __init__(self, family: M, model: str) -> None:
        self._family: M = family
        self._model = model

    def labels(self, *values: str) -> M:
        series: M = self._family.labels(self._model, *values)
        return series


class Metrics:
    """The counters and histograms of one model, which its engine feeds.

    The three of the Newton solver count only where it runs, once for all recurrences of a step: the most
    updates, the largest residual, all fallbacks. On a CPU the sequential kernel does, and they stay at zero.
    """

    def __init__(self, server: ServerMetrics, model: str) -> None:
        self.server = server
        self.model = model
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of requests that got a slot.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens sampled.")
        self.prompt_tokens_cached = self._counter(
            "prompt_tokens_cached", "Prompt tokens that a stored state made it unnecessary to read."
        )
        self.prefix_cache_queries = self._counter(
            "prefix_cache_queries", "Prompt tokens that were looked for in the state cache."
        )
        self.prefix_cache_hits = self._counter(
            "prefix_cache_hits", "Prompt tokens whose state was found in the state cache."
        )
        self.idle_prefill_tokens = self._counter(
            "idle_prefill_tokens", "Tokens read ahead, for the state cache, while no request was there."
        )
        self.request_success = self._labelled_counter(
            "request_success", "Replies that ended without an error.", "finished_reason"
        )
        self.admission_rejections = self._labelled_counter(
            "admission_rejections", "Requests that never got a slot.", "reason"
        )
        self.newton_fallbacks = self._counter("newton_fallbacks", "Units solved again step by step.")
        self.state_moves = self._labelled_counter(
            "state_moves", "Session states copied between tiers.", "from", "to"
        )
        self.state_move = self._labelled_histogram(
            "state_move_seconds", "Copying one session state.", _COMMIT_SECONDS, "from", "to"
        )
        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds", "From arrival to the first sampled token.", _SECONDS
        )
        self.inter_token_latency = self._histogram(
            "inter_token_latency_seconds", "Between two tokens of one reply.", _STEP_SECONDS
        )
        self.e2e_request_latency = self._histogram(
            "e2e_request_latency_seconds", "From arrival to the last token.", _SECONDS
        )
        self.request_queue_time = self._histogram(
            "request_queue_time_seconds", "From arrival to a slot.", _SECONDS
        )
        self.request_prefill_time = self._histogram(
            "request_prefill_time_seconds", "From a slot to the end of the prompt.", _SECONDS
        )
        self.request_decode_time = self._histogram(
            "request_decode_time_seconds", "From the end of the prompt to the last token.", _SECONDS
        )
        self.newton_iterations = self._histogram("newton_iterations", "Updates of one solve.", _ITERATIONS)
        self.newton_residual = self._histogram("newton_residual", "Residual of one solve.", _RESIDUALS)
        self.store_commit = self._histogram(
            "store_commit_seconds", "From the end of a turn until its commit is durable.", _COMMIT_SECONDS
        )

        self._begin_at_zero()

    def watch(self, pool: Callable[[], PoolStats], sessions: Callable[[], Mapping[Tier, TierTotal]]) -> None:
        """Add the gauges. Both are called whenever /metrics is read, on the reader's thread."""
        self.server.watch_pool(self.model, pool)
        self.server.watch_sessions(sessions)

    def moved(self, source: Tier, target: Tier, seconds: float) -> None:
        """A session's state was copied from one tier to another."""
        self.state_moves.labels(source, target).inc()
        self.state_move.labels(source, target).observe(seconds)

    def solved(self, report: NewtonReport) -> None:
        """Newton's method went through the recurrences of a step."""
        self.newton_iterations.observe(report.iterations)
        self.newton_residual.observe(report.residual)
        self.newton_fallbacks.inc(report.fallbacks)

    def _begin_at_zero(self) -> None:
        """Give labelled counters their samples at once: a rate has no value before a counter's second one."""
        for finished_reason in _FINISHED_REASONS:
            self.request_success.labels(finished_reason)
        for rejection in _REJECTIONS:
            self.admission_rejections.labels(rejection)
        for source, target in _MOVES:
            self.state_moves.labels(source, target)
            self.state_move.labels(source, target)

    def _counter(self, name: str, text: str) -> Counter:
        return self.server.counter(name, text).labels(self.model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return self.server.histogram(name, text, buckets).labels(self.model)

    def _labelled_counter(self, name: str, text: str, *labels: str) -> _Labelled[Counter]:
        return _Labelled(self.server.counter(name, text, *labels), self.model)

    def _labelled_histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> _Labelled[Histogram]:
        return _Labelled(self.server.histogram(name, text, buckets, *labels), self.model)


class _Gauges(Collector):
    """Gauges that are read when asked for: of each model's engine, and of the store."""

    def __init__(self) -> None:
        self.pools: dict[str, Callable[[], PoolStats]] = {}
        self.sessions: Callable[[], Mapping[Tier, TierTotal]] = dict

    def collect(self) -> Iterator[Metric]:
        yield from self._of_engines()
        yield from self._of_store()
        # Of the process, not of a model, so it has no label.
        resident = resident_memory_bytes()
        if resident is not None:
            yield _gauge("resident_memory_bytes", "Resident memory of this process.", resident)

    def _of_engines(self) -> Iterator[Metric]:
        # A copy of the items: a model may be added while another thread reads /metrics.
        pools = {model: pool() for model, pool in list(self.pools.items())}
        for name, text, read in _POOL_GAUGES:
            yield _by("model", name, text, {model: read(pool) for model, pool in pools.items()})

    def _of_store(self) -> Iterator[Metric]:
        totals = self.sessions()
        # One reading for both gauges, so that they agree.
        counts = {tier: total.sessions for tier, total in totals.items()}
        sizes = {tier: total.state_bytes for tier, total in totals.items()}
        yield _by("tier", "sessions", "Sessions by where their state is.", counts)
        yield _by("tier", "session_state_bytes", "Bytes of session states.", sizes)


_POOL_GAUGES: tuple[tuple[str, str, Callable[[PoolStats], float]], ...] = (
    ("num_requests_running", "Requests that have a slot.", lambda pool: pool.num_requests_running),
    ("num_requests_waiting", "Requests that wait for a slot.", lambda pool: pool.num_requests_waiting),
    ("state_slots_used", "State slots in use.", lambda pool: pool.state_slots_used),
    ("state_slots", "State slots.", lambda pool: pool.state_slots_total),
    ("state_cache_bytes", "Stored states and their token ids.", lambda pool: pool.state_cache_bytes),
)


class _Threads(Collector):
    def __init__(self, still_seconds: Callable[[], Mapping[str, float]]) -> None:
        self._still_seconds = still_seconds

    def collect(self) -> Iterator[Metric]:
        text = "Seconds since a thread that all requests share has moved."
        family = GaugeMetricFamily(f"{PREFIX}_thread_still_seconds", text, labels=["thread"])
        for name, seconds in self._still_seconds().items():
            family.add_metric([name], seconds)
        yield family


class _WithoutCreated(Collector):
    """The client library's switch for `_created` series is global to the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            # They would double the series of every counter and histogram.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _by(label: str, name: str, text: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
