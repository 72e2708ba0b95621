"""A store in redis or valkey that several servers share: a lease and its fence make one writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from pararnn_server.errors import StoreFailed
from pararnn_server.metrics.tiers import Tier
from pararnn_server.sessions.stores import redis_scripts
from pararnn_server.sessions.stores.store import (
    LINKED_BYTES,
    PIECE_BYTES,
    Change,
    Commit,
    LeaseHeld,
    SessionStore,
    StaleWrite,
    StoredHead,
    StoreUnusable,
    StoreUsage,
)

PREFIX = "pararnn:"
LEASE_SECONDS = 10.0
ANSWER_SECONDS = 5.0
COMMIT_TRIES = 3
DUE_AT_ONCE = 100
SCHEMA = 1
# With other settings redis answers before a turn is on disk, or evicts sessions.
DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

logger = logging.getLogger(__name__)


class RedisStore(SessionStore):
    """A store in redis. Raises StoreUnusable for a server that is not there or would lose commits.

    url: redis://user:password@host:port/db.
    """

    tier: Tier = "store"

    def __init__(self, url: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self.lease_seconds: float | None = lease_seconds
        self._lease_ms = int(lease_seconds * 1000)
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=ANSWER_SECONDS,
                socket_connect_timeout=ANSWER_SECONDS,
                # `commit` tries again itself, since only it can tell what was done.
                retry=Retry(NoBackoff(), 0),
            )
            self._redis.ping()
            _check_durable(self._redis)
        except (redis.RedisError, ValueError) as error:
            raise StoreUnusable(f"the store does not answer: {error}") from error
        register = self._redis.register_script
        self._commit_script = register(redis_scripts.COMMIT)
        self._growth_script = register(redis_scripts.GROWTH)
        self._forget_script = register(redis_scripts.FORGET_TOMBSTONES)
        self._read_script = register(redis_scripts.READ)
        self._scan_script = register(redis_scripts.SCAN)
        self._share_script = register(redis_scripts.SHARE)
        self._delete_script = register(redis_scripts.DELETE)
        self._expire_script = register(redis_scripts.EXPIRE)
        self._claim_script = register(redis_scripts.CLAIM)
        self._renew_script = register(redis_scripts.RENEW)
        self._release_script = register(redis_scripts.RELEASE)
        self._ask_script = register(redis_scripts.ASK_TO_END)
        self._asked_script = register(redis_scripts.ASKED_TO_END)
        try:
            self._migrate()
        except redis.RedisError as error:
            raise StoreUnusable(f"the store cannot be brought to this version: {error}") from error

    @override
    def load(self, session_id: str) -> StoredHead | None:
        with _failures():
            return _head(session_id, self._redis.hmget(_key("s", session_id), list("ovhe")))

    @override
    def read(self, session_id: str, name: str) -> bytes | None:
        with _failures():
            data: Any = self._read_script(args=[PREFIX, session_id, name])
        return data if data is None else bytes(data)

    @override
    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        return self._scanned(session_id, prefix, sizes=False)

    @override
    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        return self._scanned(session_id, prefix, sizes=True)

    @override
    def find_alias(self, alias: str) -> str | None:
        with _failures():
            found: Any = self._redis.get(_key("a", alias))
        return None if found is None else str(found.decode())

    @override
    def share(self, session_id: str, prefix: str) -> bool:
        with _failures():
            return bool(self._share_script(args=[PREFIX, session_id, prefix, LINKED_BYTES, PIECE_BYTES]))

    @override
    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        # A try whose answer was lost is repeated: the version tells if it was done.
        for attempt in range(1, COMMIT_TRIES + 1):
            try:
                done = self._try_commit(commits)
                break
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if attempt == COMMIT_TRIES:
                    raise _unreachable(error) from error
                time.sleep(0.1 * attempt)
        return [
            None if is_done or self._was_done(commit) else StaleWrite(commit[0].session_id)
            for commit, is_done in zip(commits, done, strict=True)
        ]

    @override
    def delete(self, session_id: str) -> None:
        with _failures():
            self._delete_script(args=[PREFIX, session_id])

    @override
    def usage(self, owner: str | None = None) -> StoreUsage:
        with _failures():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hmget(PREFIX + "u" if owner is None else _key("u", owner), ["c", "n"])
            if owner is None:
                pipeline.get(PREFIX + "x")
            else:
                pipeline.zcard(_key("x", owner))
            counts, tombstones = pipeline.execute()
        sessions, nbytes = (int(count or 0) for count in counts)
        return StoreUsage(sessions, nbytes, int(tombstones or 0))

    @override
    def growth(self, change: Change) -> int:
        with _failures():
            return int(self._growth_script(args=_arguments([change])))

    @override
    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        with _failures():
            start = f"({after}" if after else "-"
            ids: Any = self._redis.zrangebylex(_key("o", owner), start, "+", start=0, num=limit)
            names = [session_id.decode() for session_id in ids]
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.hmget(_key("s", name), list("ovhe"))
            heads = [_head(name, fields) for name, fields in zip(names, pipeline.execute(), strict=True)]
        return [head for head in heads if head is not None]

    @override
    def due(self, now: float, skip: int = 0) -> list[str]:
        with _failures():
            ids: Any = self._redis.zrangebyscore(
                PREFIX + "due", "-inf", repr(now), start=skip, num=DUE_AT_ONCE
            )
        return [session_id.decode() for session_id in ids]

    @override
    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        with _failures():
            pipeline = self._redis.pipeline(transaction=False)
            for session_id in session_ids:
                self._expire_script(args=[PREFIX, session_id, repr(now), repr(forget_at)], client=pipeline)
            outcomes = pipeline.execute()
        return [session_id for session_id, gone in zip(session_ids, outcomes, strict=True) if gone]

    @override
    def expired_owner(self, session_id: str, now: float) -> str | None:
        with _failures():
            found: Any = self._redis.get(_key("t", session_id))
        forget_at, _, owner = (found or b"-inf ").decode().partition(" ")
        return owner if float(forget_at) > now else None

    @override
    def forget_tombstones(self, owner: str, count: int) -> None:
        with _failures():
            self._forget_script(args=[PREFIX, owner, count])

    @override
    def claim(self, session_id: str) -> int:
        with _failures():
            granted, number = self._claim_script(args=[PREFIX, session_id, self._lease_ms])
        if not granted:
            raise LeaseHeld(max(0, number) / 1000)
        return int(number)

    @override
    def renew(self, fences: Mapping[str, int]) -> None:
        with _failures():
            for session_id, fence in fences.items():
                self._renew_script(args=[PREFIX, session_id, fence, self._lease_ms])

    @override
    def ask_to_end(self, session_id: str) -> bool:
        with _failures():
            return bool(self._ask_script(args=[PREFIX, session_id, self._lease_ms]))

    @override
    def asked_to_end(self, fences: Mapping[str, int]) -> Mapping[str, bool]:
        with _failures():
            pipeline = self._redis.pipeline(transaction=False)
            for session_id, fence in fences.items():
                self._asked_script(args=[PREFIX, session_id, fence], client=pipeline)
            answers = pipeline.execute()
        return {name: answer == 1 for name, answer in zip(fences, answers, strict=True) if answer}

    @override
    def release(self, session_id: str, fence: int) -> None:
        with _failures():
            self._release_script(args=[PREFIX, session_id, fence])

    @override
    def purge(self) -> bool:
        # Redis frees what is unlinked by itself.
        return False

    @override
    def idle(self) -> bool:
        return False

    @override
    def close(self) -> None:
        self._redis.close()

    def _migrate(self) -> None:
        """Count the rows that an older version of this program wrote; twice does no harm."""
        if int(self._redis.get(PREFIX + "schema") or 0) >= SCHEMA:
            return
        for kind, script in (("s", redis_scripts.MEASURE), ("t", redis_scripts.COUNT_TOMBSTONE)):
            run = self._redis.register_script(script)
            for key in self._redis.scan_iter(match=_key(kind, "*"), count=1000):
                run(args=[PREFIX, key.decode().removeprefix(_key(kind, ""))])
        # Last: a start that was cut short counts again, which does no harm.
        self._redis.set(PREFIX + "schema", SCHEMA)

    def _scanned(self, session_id: str, prefix: str, *, sizes: bool) -> dict[str, Any]:
        with _failures():
            found: Any = self._scan_script(args=[PREFIX, session_id, prefix, int(sizes)])
        pairs = zip(found[::2], found[1::2], strict=True)
        return dict(sorted((name.decode(), data) for name, data in pairs))

    def _try_commit(self, commits: Sequence[Commit]) -> list[bool]:
        with _failures(but=(redis.ConnectionError, redis.TimeoutError)):
            pipeline = self._redis.pipeline(transaction=False)
            for commit in commits:
                self._commit_script(args=_arguments(commit), client=pipeline)
            return [bool(outcome) for outcome in pipeline.execute()]

    def _was_done(self, commit: Commit) -> bool:
        """Return True if an earlier try, whose answer was lost, has made this commit."""
        # The head holds the time: no other change has the same.
        change = commit[0]
        head = self.load(change.session_id)
        return head is not None and (head.version, head.head) == (change.base_version + 1, change.head)


def _arguments(commit: Commit) -> list[Any]:
    arguments: list[Any] = [PREFIX, len(commit)]
    for change in commit:
        arguments += _fields(change)
        shares = {name: data for name, data in change.shares.items() if len(data) >= LINKED_BYTES}
        puts = {**change.puts, **{name: data for name, data in change.shares.items() if name not in shares}}
        arguments += [len(change.removes), *change.removes, len(change.links)]
        arguments += [part for name, source in change.links.items() for part in (name, *source)]
        for items in (puts, shares):
            arguments += [len(items), *(part for pair in items.items() for part in pair)]
    return arguments


def _fields(change: Change) -> list[Any]:
    ends = "" if change.expires_at is None else repr(change.expires_at)
    return [
        change.session_id,
        change.owner,
        change.base_version,
        change.fence,
        ends,
        change.head,
        change.alias or "",
    ]


def _key(kind: str, name: str) -> str:
    return f"{PREFIX}{kind}:{name}"


def _head(session_id: str, fields: Any) -> StoredHead | None:
    owner, version, head, ends = fields
    if version is None:
        return None
    return StoredHead(session_id, owner.decode(), int(version), head, float(ends) if ends else None)


def _check_durable(server: redis.Redis) -> None:
    """Raise StoreUnusable unless a turn that was answered is on a disk and stays there."""
    try:
        found: Any = {name: server.config_get(name).get(name) for name in DURABLE}
    except redis.ResponseError as error:
        logger.warning("the store does not show its configuration (%s): turns may be lost", error)
        return
    wrong = [f"{name} {value}" for name, value in DURABLE.items() if found[name] != value]
    if wrong:
        raise StoreUnusable(f"the store would lose turns: it needs {', '.join(wrong)}")


@contextmanager
def _failures(but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        yield
    except but:
        raise
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise _unreachable(error) from error
    except redis.RedisError as error:
        # Redis answers so when its memory or its disk is full.
        if "OOM" in str(error) or "MISCONF" in str(error):
            message = "The session store is full; nothing of this is kept."
            raise StoreFailed(message, code="store_full") from error
        raise StoreFailed(f"The session store failed: {error}.") from error


def _unreachable(error: Exception) -> StoreFailed:
    return StoreFailed(f"The session store does not answer: {error}.", code="store_unreachable")
