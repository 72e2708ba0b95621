"""Figures of one view. Those of a key follow from its own work alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from pararnn_server.engine.activity import Progress, Step
from pararnn_server.metrics.memory import resident_memory_bytes
from pararnn_server.metrics.recent_quantiles import Quantiles
from pararnn_server.models.registry import ModelRegistry
from pararnn_server.monitor.session_table import Json
from pararnn_server.sessions.overview import KeyMemory
from pararnn_server.sessions.policy import SessionPolicy

STEPS_AT_ONCE = 64
"""Steps of an event. Of more in one interval the last are shown; their numbers tell how many there were."""


@dataclass(frozen=True, slots=True)
class Held:
    """The memory of each key, as last read on the store's thread, and its limits."""

    by_key: Mapping[str, KeyMemory]
    policy: SessionPolicy


def running(progress: Iterable[Progress]) -> list[Json]:
    """Return the schema `RunningReply` of each request."""
    return [
        {
            "id": each.request_id,
            "session_id": each.session_id,
            "owner": each.key,
            "phase": each.phase,
            "prompt_tokens": each.prompt_tokens,
            "prompt_tokens_read": each.prompt_tokens_read,
            "completion_tokens": each.completion_tokens,
            "tokens_per_second": each.tokens_per_second,
        }
        for each in progress
    ]


def models(registry: ModelRegistry) -> list[Json]:
    """Return the sizes of each model and of its sessions; the same for every key."""
    return [
        {"id": model.name, "state_bytes": model.state_bytes, "weight_bytes": model.weight_bytes}
        for model in registry
    ]


def budgets(registry: ModelRegistry, keys: Iterable[str], held: Held, *, totals: bool) -> list[Json]:
    """Return the schema `Budget` of each of these keys. totals: also those of the whole server."""
    keys = list(keys)
    found = list(_of_server(registry, keys, held)) if totals else []
    for key in keys:
        found += _of_key(registry, key, held)
    return found


def _of_server(registry: ModelRegistry, keys: list[str], held: Held) -> Iterable[Json]:
    for model in registry:
        stats, limits = model.engine.stats(), model.engine.limits
        yield budget("slots", stats.state_slots_used, stats.state_slots_total, model=model.name)
        yield budget("queue", stats.num_requests_waiting, limits.max_queue, model=model.name)
        most = limits.state_cache_bytes_per_key * len(keys)
        yield budget("state_cache", stats.state_cache_bytes, most, model=model.name)
        yield budget("weights", model.weight_bytes, None, model=model.name)
    host = sum(memory.host_state_bytes for memory in held.by_key.values())
    yield budget("host_states", host, held.policy.host_state_bytes * len(keys))
    stored = sum(memory.store.kept_bytes for memory in held.by_key.values())
    yield budget("store", stored, held.policy.max_bytes * len(keys) or None)
    sessions = sum(memory.store.sessions for memory in held.by_key.values())
    yield budget("sessions", sessions, held.policy.max_sessions * len(keys))
    if (resident := resident_memory_bytes()) is not None:
        yield budget("resident_memory", resident, None)


def _of_key(registry: ModelRegistry, key: str, held: Held) -> Iterable[Json]:
    for model in registry:
        limits, slots = model.engine.limits, model.engine.num_slots(key)
        yield budget("slots", slots, limits.max_slots_per_key, key, model.name)
        cached = model.engine.state_cache_bytes(key)
        yield budget("state_cache", cached, limits.state_cache_bytes_per_key, key, model.name)
    memory, policy = held.by_key[key], held.policy
    yield budget("host_states", memory.host_state_bytes, policy.host_state_bytes, key)
    yield budget("store", memory.store.kept_bytes, policy.max_bytes or None, key)
    yield budget("sessions", memory.store.sessions, policy.max_sessions, key)


def budget(
    name: str, used: float, limit: float | None, owner: str | None = None, model: str | None = None
) -> Json:
    """Return one budget. owner: None for the whole server. model: None for what all models share."""
    return {"name": name, "owner": owner, "model": model, "used": used, "limit": limit}


def latency(registry: ModelRegistry, key: str | None) -> Json:
    """Return the schema `Latency` of each model, for one key or for all."""
    return {
        model.name: {
            "time_to_first_token": _quantiles(model.engine.activity.time_to_first_token(key)),
            "inter_token_latency": _quantiles(model.engine.activity.inter_token_latency(key)),
        }
        for model in registry
    }


def _quantiles(found: Quantiles) -> Json:
    return asdict(found)


def recent_steps(registry: ModelRegistry) -> Json:
    """Return the last steps of each model, each as [number, prompt rows, decode rows, seconds]."""
    return {model.name: _rows(model.engine.activity.steps_after(0)) for model in registry}


def _rows(found: Sequence[Step]) -> list[list[float]]:
    kept = found[-STEPS_AT_ONCE:]
    return [[step.number, step.prompt_rows, step.decode_rows, round(step.seconds, 6)] for step in kept]
