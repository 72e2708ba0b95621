"""Effect of a long prompt on other streams: their time between tokens before and during its prefill.

python -m benchmarks.stall --checkpoint DIR --streams 8 --prompt-tokens 4000
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, stream_arrivals
from benchmarks.serving import percentile, serving
from pararnn_core.checkpoint import checkpoint_info

_SETTLE_SECONDS = 1.0
_FOREVER = 100_000


@dataclass(frozen=True)
class Stall:
    """Seconds between two tokens of a stream: without the prompt, and during its prefill.

    first: time to the prompt's own first token
    """

    quiet_median: float
    quiet_p99: float
    busy_p50: float
    busy_p99: float
    busy_max: float
    first: float

    @classmethod
    def of(cls, quiet: list[float], busy: list[float], first: float) -> Stall:
        """Summarise the gaps of all streams that end in each period."""
        return cls(
            quiet_median=percentile(quiet, 50),
            quiet_p99=percentile(quiet, 99),
            busy_p50=percentile(busy, 50),
            busy_p99=percentile(busy, 99),
            busy_max=max(busy, default=0.0),
            first=first,
        )

    def __str__(self) -> str:
        quiet = self.quiet_median
        rows = (
            ("quiet, median", quiet),
            ("quiet, p99", self.quiet_p99),
            ("while the prompt is read, p50", self.busy_p50),
            ("p99", self.busy_p99),
            ("longest", self.busy_max),
        )
        lines = [f"{name:32}{value * 1e3:9.1f} ms {value / quiet:7.2f} x" for name, value in rows]
        return "\n".join([*lines, f"{'first token of the prompt':32}{self.first * 1e3:9.1f} ms"])


async def stall(port: int, streams: Load, prompt: Load, quiet_seconds: float, seed: int) -> Stall:
    """Run the streams, and then the prompt, one more stream. The streams are left after its first token."""
    arrivals: list[list[float]] = [[] for _ in range(streams.streams)]
    tasks = [
        asyncio.ensure_future(stream_arrivals(port, body, times))
        for body, times in zip(streams.bodies(seed), arrivals, strict=True)
    ]
    try:
        while not all(arrivals):
            await asyncio.sleep(0.01)
        await asyncio.sleep(_SETTLE_SECONDS)
        began = time.perf_counter()
        await asyncio.sleep(quiet_seconds)
        asked = time.perf_counter()
        first: list[float] = []
        await stream_arrivals(port, prompt.bodies(seed + 1)[0], first)
        ended = first[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Stall.of(_gaps(arrivals, began, asked), _gaps(arrivals, asked, ended), ended - asked)


def _gaps(arrivals: list[list[float]], start: float, end: float) -> list[float]:
    """Return the gaps that end between start and end. So a stall that began earlier counts in full."""
    return [
        later - earlier
        for times in arrivals
        for earlier, later in itertools.pairwise(times)
        if start < later <= end
    ]


def main() -> None:
    """Print the figures of each repetition, or all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=4000)
    parser.add_argument("--quiet-seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    vocab_size = checkpoint_info(args.checkpoint).config.vocab_size
    streams = Load(args.streams, 32, _FOREVER, vocab_size)
    prompt = Load(1, args.prompt_tokens, 1, vocab_size)
    with serving(args.checkpoint, args.threads) as port:
        for seed in range(args.repeat):
            figures = asyncio.run(stall(port, streams, prompt, args.quiet_seconds, 2 * seed))
            print(json.dumps(vars(figures)) if args.json else f"{figures}\n", flush=True)


if __name__ == "__main__":
    main()
