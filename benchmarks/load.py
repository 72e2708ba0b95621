"""Streams from a server, timed at the socket. The code is lean, because it shares cores with the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from pararnn_client.sse import DONE, EventDecoder


class LoadFailed(RuntimeError):
    """Error: the server's answer is not a correct stream."""


@dataclass(frozen=True)
class StreamTimes:
    """Times of one stream: seconds to its first token and between events, and its number of tokens."""

    first: float
    between: tuple[float, ...]
    completion_tokens: int


@dataclass(frozen=True)
class Load:
    """A load of streams, each with prompt_tokens random ids and exactly max_tokens tokens, temperature 1."""

    streams: int
    prompt_tokens: int
    max_tokens: int
    vocab_size: int

    def bodies(self, seed: int) -> list[bytes]:
        """Return one request per stream, all different."""
        draw = random.Random(seed)
        fields = {
            "max_tokens": self.max_tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        prompts = [
            [draw.randrange(self.vocab_size) for _ in range(self.prompt_tokens)] for _ in range(self.streams)
        ]
        return [
            json.dumps({"prompt": prompt, "seed": index, **fields}).encode()
            for index, prompt in enumerate(prompts)
        ]


async def run_load(port: int, load: Load, seed: int) -> list[StreamTimes]:
    """Run all streams of the load, started together, against the server on this machine."""
    return await asyncio.gather(*(stream_arrivals(port, body, []) for body in load.bodies(seed)))


async def stream_arrivals(port: int, body: bytes, arrivals: list[float]) -> StreamTimes:
    """Run one stream of tokens; append the time of each of its events to `arrivals`."""
    start, usage = time.perf_counter(), None
    async for now, event in events_of(port, "/v1/completions", body):
        parsed = {} if event == DONE else json.loads(event)
        if parsed.get("choices"):
            arrivals.append(now)
        usage = parsed.get("usage") or usage
    if not arrivals or not usage:
        raise LoadFailed("the stream ended without a token or without its usage")
    gaps = tuple(later - earlier for earlier, later in itertools.pairwise(arrivals))
    return StreamTimes(arrivals[0] - start, gaps, int(usage["completion_tokens"]))


async def events_of(port: int, path: str, body: bytes) -> AsyncIterator[tuple[float, str]]:
    """Yield the time and data of each event of a POST. Raises LoadFailed if the answer is no stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(_request(port, path, body))
        await _read_head(reader)
        decoder = EventDecoder()
        while size := int(await reader.readline(), 16):
            events = decoder.feed((await reader.readexactly(size + 2))[:-2])
            now = time.perf_counter()
            for event in events:
                yield now, event
    finally:
        writer.close()


def _request(port: int, path: str, body: bytes) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _read_head(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        raise LoadFailed((head + await reader.read(2000)).decode(errors="replace"))
    if b"transfer-encoding: chunked" not in head.lower():
        raise LoadFailed("the stream is not chunked")
