"""Prompts that are read ahead while no request is there, so that a later one finds their state."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from pararnn_core.state import StateSnapshot
from pararnn_server.executor import Executor
from pararnn_server.metrics import Metrics
from pararnn_server.prefix_tree import pack_ids
from pararnn_server.reuse import sound
from pararnn_server.state_cache import Partition, StateCache

# A request that arrives waits for the chunk under way.
CHUNK_TOKENS = 64
# Less than this is read as fast with the next request as it would be now.
MIN_TOKENS = 16
MAX_WAITING_BYTES = 4 << 20


class _Job:
    """ids after the first `num_tokens` of which `snapshot` stands; None: not looked up yet."""

    def __init__(self, partition: Partition, ids: Sequence[int]) -> None:
        self.partition = partition
        self.ids = ids
        self.packed = pack_ids(ids)
        self.num_tokens = 0
        self.snapshot: StateSnapshot | None = None


class IdlePrefill:
    """For the engine thread only. Owners take turns; of one that asks for too much the oldest go."""

    def __init__(self, executor: Executor, cache: StateCache, metrics: Metrics) -> None:
        self._executor = executor
        self._cache = cache
        self._metrics = metrics
        self._jobs: OrderedDict[str, deque[_Job]] = OrderedDict()

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._jobs)

    def add(self, partition: Partition, ids: Sequence[int]) -> None:
        """Asks for the state after `ids`, from the longest prefix that is stored."""
        jobs = self._jobs.setdefault(partition.owner, deque())
        jobs.append(_Job(partition, ids))
        while len(jobs) > 1 and sum(len(job.packed) for job in jobs) > MAX_WAITING_BYTES:
            jobs.popleft()

    def step(self) -> None:
        """One chunk of one job."""
        owner, jobs = self._jobs.popitem(last=False)
        if not self._advance(jobs[0]):
            jobs.popleft()
        if jobs:
            self._jobs[owner] = jobs

    def _advance(self, job: _Job) -> bool:
        """Whether more is to be done. Without a stored state to go on from, nothing is."""
        if job.snapshot is None:
            hit = self._cache.find(job.partition, job.packed)
            if hit is None or len(job.ids) - hit.num_tokens < MIN_TOKENS:
                return False
            job.num_tokens, job.snapshot = hit
        chunk = job.ids[job.num_tokens : job.num_tokens + CHUNK_TOKENS]
        snapshot = job.snapshot = self._executor.extend(job.snapshot, chunk)
        job.num_tokens += len(chunk)
        self._metrics.idle_prefill_tokens.inc(len(chunk))
        if job.num_tokens < len(job.ids):
            return True
        self._cache.put(job.partition, job.packed, job.num_tokens, sound(lambda: snapshot))
        return False
