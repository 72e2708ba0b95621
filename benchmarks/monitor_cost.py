"""The cost of /v1/monitor: processor time of the event loop with and without watchers.

python -m benchmarks.monitor_cost --checkpoint DIR --sessions 10000 --streams 200 --watchers 10
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving import Server, pararnn_server

_FOREVER = 100_000
_SETTLE_SECONDS = 2.0
_AT_ONCE = 16


@dataclass(frozen=True)
class Period:
    """Figures of a period: seconds of the event loop's processor time a second, tokens, bytes to watchers."""

    loop_share: float
    tokens_per_second: float
    watched_bytes_per_second: float


class Reader:
    """Streams that are read and counted, and dropped."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.num_bytes = 0
        self.num_events = 0

    async def read(self, method: str, path: str, body: object = None) -> None:
        """Read a stream until it ends."""
        async with self._http.stream(method, path, json=body) as response:
            response.raise_for_status()
            async for piece in response.aiter_raw():
                self.num_bytes += len(piece)
                self.num_events += piece.count(b"\n\n")


@contextlib.asynccontextmanager
async def running(*streams: Awaitable[None]) -> AsyncIterator[None]:
    """Read streams meanwhile. Raises the error of one that failed."""
    tasks = [asyncio.ensure_future(stream) for stream in streams]
    try:
        await asyncio.sleep(_SETTLE_SECONDS)
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def create_sessions(http: httpx.AsyncClient, count: int) -> None:
    """Create sessions with a little metadata."""

    async def create(first: int) -> None:
        for number in range(first, count, _AT_ONCE):
            body = {"metadata": {"title": f"Conversation {number}"}}
            (await http.post("/v1/sessions", json=body)).raise_for_status()

    await asyncio.gather(*(create(first) for first in range(_AT_ONCE)))


async def measured(server: Server, seconds: float, replies: Reader, watched: Reader) -> Period:
    """Return the figures of so many seconds."""
    before, began = (_loop_seconds(server.pid), replies.num_events, watched.num_bytes), time.perf_counter()
    await asyncio.sleep(seconds)
    after, taken = (
        (_loop_seconds(server.pid), replies.num_events, watched.num_bytes),
        time.perf_counter() - began,
    )
    return Period(*((late - early) / taken for early, late in zip(before, after, strict=True)))


def _loop_seconds(pid: int) -> float:
    """Return the processor time of the main thread, which runs the event loop."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def compare(server: Server, args: argparse.Namespace) -> list[tuple[Period, Period]]:
    """Return the figures without and with watchers, in turn."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", limits=limits, timeout=120.0
    ) as http:
        await create_sessions(http, args.sessions)
        replies, watched, found = Reader(http), Reader(http), []
        body = {"prompt": "x", "max_tokens": _FOREVER, "ignore_eos": True, "stream": True}
        streams = [replies.read("POST", "/v1/completions", body) for _ in range(args.streams)]
        async with running(*streams):
            for _ in range(args.repeat):
                without = await measured(server, args.seconds, replies, watched)
                async with running(*(watched.read("GET", "/v1/monitor") for _ in range(args.watchers))):
                    found.append((without, await measured(server, args.seconds, replies, watched)))
        return found


def main() -> None:
    """Print the figures of each repetition, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    settings = {
        "max_num_seqs": args.streams,
        "max_sessions": args.sessions + 1,
        "key_max_requests": args.streams + args.watchers + _AT_ONCE,
    }
    with pararnn_server(args.checkpoint, args.threads, **settings) as server:
        found = asyncio.run(compare(server, args))
    print("event loop without and with watchers, tokens/s without and with, bytes/s to watchers")
    for without, watched in found:
        print(
            f"{without.loop_share:8.1%} {watched.loop_share:8.1%}"
            f" {without.tokens_per_second:9.0f} {watched.tokens_per_second:9.0f}"
            f" {watched.watched_bytes_per_second:11.0f}"
        )
    extra = statistics.median(watched.loop_share - without.loop_share for without, watched in found)
    # A loop that is busy all the time shows its work as fewer tokens, not as more time.
    cost = statistics.median(
        1
        - (watched.tokens_per_second / watched.loop_share) / (without.tokens_per_second / without.loop_share)
        for without, watched in found
    )
    print(f"of a core: {extra:.1%}; of the loop's time a token: {cost:.1%}")


if __name__ == "__main__":
    main()
