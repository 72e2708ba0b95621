"""/v1/monitor and /v1/admin/sessions."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import ResponseBody
from pararnn_server.http.schemas.sessions import SessionBody, Tier, TierTotal


class MonitoredSession(SessionBody):
    """A session with its owner: the name of its key, "" without keys."""

    owner: str


class RunningReply(ResponseBody):
    """A request that has a slot. session_id: null without a session.

    prompt_tokens: ids that it reads; prompt_tokens_read: those that are read.
    tokens_per_second: of its replies since the end of the prompt.
    """

    id: str
    session_id: str | None
    owner: str
    phase: Literal["prefill", "decode"]
    prompt_tokens: int
    prompt_tokens_read: int
    completion_tokens: int
    tokens_per_second: float


class Budget(ResponseBody):
    """A limit and its use, in bytes; slots, queue and sessions are counts.

    owner: null for the whole server. model: null for what all models share. limit: null where there is none.
    """

    name: Literal[
        "slots", "queue", "state_cache", "host_states", "store", "sessions", "weights", "resident_memory"
    ]
    owner: str | None
    model: str | None
    used: float
    limit: float | None


class Quantiles(ResponseBody):
    """Seconds, of the last one to two minutes, within 4 %; null where nothing was observed."""

    count: int
    p50: float | None
    p99: float | None


class Latency(ResponseBody):
    """Latencies of one model."""

    time_to_first_token: Quantiles
    inter_token_latency: Quantiles


class MonitoredModel(ResponseBody):
    """A model. Sizes are bytes: of the state of one session, and of its weights."""

    id: str
    state_bytes: int
    weight_bytes: int


class MonitorSnapshot(ResponseBody):
    """Everything, as the first event. time: seconds since 1970.

    all_keys: sessions of all keys are shown. latency, steps: by model; a step is [number, prompt rows, decode
    rows, seconds].
    """

    type: Literal["snapshot"]
    time: float
    all_keys: bool
    models: list[MonitoredModel]
    running: list[RunningReply]
    budgets: list[Budget]
    latency: dict[str, Latency]
    steps: dict[str, list[list[float]]]
    sessions: list[MonitoredSession]


class MonitorChange(ResponseBody):
    """Changes since the event before. A member that is absent has not changed.

    sessions: new or different. removed: ids that are gone. budgets: those that differ. steps: new ones.
    running, latency: complete.
    """

    type: Literal["change"]
    time: float
    removed: list[str]
    models: list[MonitoredModel] | None = None
    running: list[RunningReply] | None = None
    budgets: list[Budget] | None = None
    latency: dict[str, Latency] | None = None
    steps: dict[str, list[list[float]]] | None = None
    sessions: list[MonitoredSession]


class AdminSession(MonitoredSession):
    """A session of any key. tokens_per_second: of its running reply, 0 without one."""

    tokens_per_second: float


class AdminSessionList(ResponseBody):
    """A page of the sessions of all keys. num_matches: sessions that the filters leave, on all pages."""

    object: Literal["list"]
    data: list[AdminSession]
    last_id: str | None
    has_more: bool
    num_matches: int
    totals: dict[Tier, TierTotal]
