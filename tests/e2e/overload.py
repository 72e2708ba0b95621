"""Many more clients than a server can serve at once, each asking again as soon as it is answered.

Bare sockets: a client library would take more of the machine than the server that is tested.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BODY = {
    "prompt": "def read(path):\n",
    "max_tokens": 32,
    "temperature": 0.8,
    "ignore_eos": True,
    "stream": True,
}
PATIENCE = 180.0


@dataclass
class Load:
    """statuses: of answers. codes: of refusals. waits: seconds to the first text of those accepted.

    broken: what went wrong with an answer, or instead of one.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def wait_at(self, share: float) -> float:
        """Quantile of the waits."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]

    def __str__(self) -> str:
        return (
            f"statuses {dict(self.statuses)}, codes {dict(self.codes)}, first text after p50"
            f" {self.wait_at(0.5):.2f} s, p99 {self.wait_at(0.99):.2f} s, max {max(self.waits):.2f} s"
        )


def overload(url: str, clients: int, seconds: float) -> Load:
    """Ends when every client has its last answer."""
    return asyncio.run(_overload(url, clients, seconds))


async def _overload(url: str, clients: int, seconds: float) -> Load:
    load, ends = Load(), time.monotonic() + seconds
    await asyncio.gather(*(_client(url, load, ends) for _ in range(clients)))
    return load


async def _client(url: str, load: Load, ends: float) -> None:
    while time.monotonic() < ends:
        try:
            pause = await asyncio.wait_for(_ask(url, load), PATIENCE)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            load.broken.append(repr(error))
            pause = 1.0
        await asyncio.sleep(min(pause, max(0.0, ends - time.monotonic())))


async def _ask(url: str, load: Load) -> float:
    """Send one request on a new connection; return the seconds of the server's Retry-After."""
    began, body = time.monotonic(), json.dumps(BODY).encode()
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: {address.netloc}\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(answer.split(" ", 2)[1])
        load.statuses[status] += 1
        if status == 200:
            await reader.readuntil(b'"text"')
            load.waits.append(time.monotonic() - began)
        rest = await reader.read()
        while more := await reader.read():
            rest += more
    finally:
        writer.close()
    if status != 200:
        load.codes[json.loads(rest)["error"]["code"]] += 1
        return float(answer.split("retry-after: ", 1)[1].split("\r\n", 1)[0])
    if b"data: [DONE]" not in rest or b'data: {"error"' in rest:
        load.broken.append(rest[-200:].decode())
    return 0.0
