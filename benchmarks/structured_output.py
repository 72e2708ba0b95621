"""Cost of structured output: tokens/s by a JSON schema beside free text, and the first use of a schema.

python -m benchmarks.structured_output --checkpoint checkpoints/paragru-5m-stdlib-int8
python -m benchmarks.structured_output --preset 130m --tokens 64
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from pararnn_server.bench.subject import Subject

from benchmarks.parts import checkpoint_of
from benchmarks.serving import pararnn_server, percentile

_RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"type": "string", "maxLength": 24},
        "kind": {"enum": ["person", "company", "department"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
        "active": {"type": "boolean"},
    },
    "required": ["name", "age", "email", "kind", "tags", "active"],
    "additionalProperties": False,
}
_TEXT = {"type": "string", "maxLength": 24}
# Long enough that no reply ends before max_tokens. In texts hardly an id is forced.
_FORMS: dict[str, dict[str, Any] | None] = {
    "free": None,
    "records": {"type": "array", "items": _RECORD, "minItems": 1000},
    "texts": {"type": "array", "items": _TEXT, "minItems": 1000},
}


def _body(tokens: int, seed: int, schema: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": "import json\n", "max_tokens": tokens, "seed": seed, "temperature": 1.0}
    # A free reply must not end early.
    return {**body, "ignore_eos": True} if schema is None else {**body, "guided_json": schema}


async def _tokens_per_second(
    client: httpx.AsyncClient, streams: int, tokens: int, seed: int, schema: dict[str, Any] | None
) -> float:
    began = time.perf_counter()
    bodies = [_body(tokens, 1000 * seed + i, schema) for i in range(streams)]
    answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
    taken = time.perf_counter() - began
    counts: list[int] = [answer.raise_for_status().json()["usage"]["completion_tokens"] for answer in answers]
    return sum(counts) / taken


async def _first_use(client: httpx.AsyncClient, count: int) -> list[float]:
    """Return the seconds of requests for one token, each with a schema that the server has never seen."""
    taken = []
    for number in range(count):
        properties = {f"field_{number}_{i}": value for i, value in enumerate([_RECORD] * 4)}
        schema = {"type": "object", "properties": properties, "required": [*properties]}
        began = time.perf_counter()
        (await client.post("/v1/completions", json=_body(1, number, schema))).raise_for_status()
        taken.append(time.perf_counter() - began)
    return taken


async def _run(port: int, args: argparse.Namespace) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        for streams in args.streams:
            figures: dict[str, list[float]] = {name: [] for name in _FORMS}
            for seed in range(args.rounds + 1):
                for name, schema in _FORMS.items():
                    figure = await _tokens_per_second(client, streams, args.tokens, seed, schema)
                    # The first round warms up.
                    figures[name] += [figure] if seed else []
            medians = {name: statistics.median(values) for name, values in figures.items()}
            cells = [
                f"{name} {value:.0f} ({value / medians['free']:.2f} x)" for name, value in medians.items()
            ]
            print(f"{streams} streams, tokens/s: {', '.join(cells)}", flush=True)
        taken = await _first_use(client, args.schemas)
        for percent in (50, 99):
            print(f"first use of a schema, p{percent}: {percentile(taken, percent) * 1e3:.1f} ms")


def main() -> None:
    """Read the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path)
    model.add_argument("--preset", help="a model with random int8 weights")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    subject = Subject.random(args.preset, "int8") if args.preset else Subject.of_checkpoint(args.checkpoint)
    with (
        tempfile.TemporaryDirectory() as folder,
        pararnn_server(checkpoint_of(subject, Path(folder)), args.threads) as server,
    ):
        asyncio.run(_run(server.port, args))


if __name__ == "__main__":
    main()
