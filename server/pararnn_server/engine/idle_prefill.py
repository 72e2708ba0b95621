"""Prompts that are read ahead while no request is there, so that a later one finds their state."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from pararnn_core.state import StateSnapshot
from pararnn_server.engine.executor import Executor
from pararnn_server.engine.prefix_reuse import sound
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.state_cache.prefix_tree import id_array, pack_ids
from pararnn_server.state_cache.state_cache import Partition, StateCache

# A request that arrives waits for the chunk under way.
CHUNK_TOKENS = 64
# Less than this is read as fast with the next request as it would be now.
MIN_TOKENS = 16
# Of one owner, so that no client fills the memory with conversations.
MAX_WAITING_BYTES = 4 << 20


class _Job:
    """Ids to read. snapshot: the state after the first `num_tokens` of them; None: not looked up yet."""

    def __init__(self, partition: Partition, token_ids: Sequence[int]) -> None:
        self.partition = partition
        self.token_ids = id_array(token_ids)
        self.packed = pack_ids(token_ids)
        self.num_tokens = 0
        self.snapshot: StateSnapshot | None = None


class IdlePrefill:
    """Reads promised prompts in idle time, for the engine thread only. Owners take turns.

    A state is promised in the cache at once, so that `cached_tokens` follows from the requests of a key.
    The key's next request reads what is left by then itself. An owner with too many jobs loses the oldest.
    """

    def __init__(self, executor: Executor, cache: StateCache, state_bytes: int, metrics: Metrics) -> None:
        self._executor = executor
        self._cache = cache
        self._state_bytes = state_bytes
        self._metrics = metrics
        self._jobs: OrderedDict[str, deque[_Job]] = OrderedDict()

    @property
    def has_work(self) -> bool:
        """True if `step` has something to do."""
        return bool(self._jobs)

    def add(self, partition: Partition, token_ids: Sequence[int]) -> None:
        """Promise the state after `token_ids` if a prefix of them is cached or promised; else do nothing."""
        job = _Job(partition, token_ids)
        known = self._cache.longest(partition, job.packed)
        if not known or len(token_ids) - known < MIN_TOKENS:
            return
        self._cache.promise(partition, job.packed, len(token_ids), self._state_bytes)
        jobs = self._jobs.setdefault(partition.owner, deque())
        jobs.append(job)
        # A dropped job stays promised: the request that counts on it reads it itself.
        while len(jobs) > 1 and sum(len(job.packed) for job in jobs) > MAX_WAITING_BYTES:
            jobs.popleft()

    def step(self) -> None:
        """Read one chunk of one job."""
        owner, jobs = self._jobs.popitem(last=False)
        if not self._advance(jobs[0]):
            jobs.popleft()
        if jobs:
            # Behind the others, so that owners take turns.
            self._jobs[owner] = jobs

    def _advance(self, job: _Job) -> bool:
        """Read one chunk. Return False if the job has ended, or has no state to start from."""
        # A request may have read it meanwhile, or newer states may have taken its place.
        if not self._cache.owes(job.partition, job.packed, len(job.token_ids)):
            return False
        if job.snapshot is None:
            # Not when the job was added: a longer prefix may be there by now.
            hit = self._cache.find(job.partition, job.packed)
            if hit is None:
                return False
            job.num_tokens, job.snapshot = hit
        chunk = job.token_ids[job.num_tokens : job.num_tokens + CHUNK_TOKENS]
        snapshot = job.snapshot = self._executor.extend(job.snapshot, chunk)
        job.num_tokens += len(chunk)
        self._metrics.idle_prefill_tokens.inc(len(chunk))
        if job.num_tokens < len(job.token_ids):
            return True
        self._cache.fill(job.partition, job.packed, job.num_tokens, sound(lambda: snapshot))
        return False
