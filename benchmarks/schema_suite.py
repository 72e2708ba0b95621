"""The JSON-Schema-Test-Suite over structured output: schemas taken and refused, replies valid or not.

pip download --no-binary :all: --no-deps jsonschema; the suite is in the archive's json/tests/draft2020-12.
python -m benchmarks.schema_suite --suite DIR --checkpoint checkpoints/paragru-5m-stdlib-int8
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.compiler import GrammarCompiler
from pararnn_server.grammars.grammar_mask import GrammarMask
from pararnn_server.grammars.specs import JsonSchema
from pararnn_server.text.tokenizer import Tokenizer

from benchmarks.serving import pararnn_server
from pararnn_core.checkpoint import checkpoint_info

_MAX_TOKENS = 128


@dataclass
class Tally:
    """Counts over all schemas, and a line for each that is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _groups(suite: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(suite.glob("*.json")):
        for group in json.loads(path.read_text()):
            # A reply has an object as its schema; true and false are no question to a server.
            if isinstance(group["schema"], dict):
                yield f"{path.stem}: {group['description']}", group


def _reason(error: BadRequest) -> str:
    """Return the reason without what differs from schema to schema."""
    text = error.message.split(": ", 1)[1]
    if "is another document" in text:
        return "a reference to another document"
    if "are not disjoint" in text:
        return "patternProperties that may overlap"
    return re.sub(r"got .*", "got a float", text)


class Grammars:
    """Compiles schemas as the server does, and follows texts through them."""

    def __init__(self, checkpoint: Path) -> None:
        config = checkpoint_info(checkpoint).config
        self._tokenizer = Tokenizer(checkpoint, config.vocab_size)
        ends = [] if config.eos_token_id is None else [config.eos_token_id]
        self._compiler = GrammarCompiler(self._tokenizer, ends)

    def compile(self, schema: dict[str, Any]) -> GrammarMask:
        """Return the mask of a schema. Raises BadRequest."""
        return asyncio.run(self._compiler.compile(JsonSchema(schema), param="schema"))

    def follow(self, mask: GrammarMask, text: str) -> tuple[bool, bool]:
        """Return True if a reply may begin with the text, and True if it may be the text."""
        matcher = mask.fork()._matcher
        ids = self._tokenizer.plain_ids(text)
        begins = matcher.try_consume_tokens(ids) == len(ids)
        return begins, begins and matcher.is_accepting()


def _check_instances(
    grammars: Grammars, name: str, group: dict[str, Any], mask: GrammarMask, tally: Tally
) -> None:
    """Compare what the grammar takes with the suite's own verdicts."""
    for test in group["tests"]:
        _, is_taken = grammars.follow(mask, json.dumps(test["data"], ensure_ascii=False))
        verdict = "valid" if test["valid"] else "invalid"
        tally.counts[f"{verdict} instances {'taken' if is_taken else 'not taken'}"] += 1
        if is_taken and not test["valid"]:
            tally.wrong.append(f"{name}: takes what is invalid: {test['description']}")


async def _reply(client: httpx.AsyncClient, schema: dict[str, Any], seed: int) -> tuple[str, str]:
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    body = {
        "prompt": "{",
        "max_tokens": _MAX_TOKENS,
        "temperature": 2.0,
        "seed": seed,
        "response_format": form,
    }
    answer = (await client.post("/v1/completions", json=body)).raise_for_status().json()["choices"][0]
    return answer["text"], answer["finish_reason"]


async def _replies(port: int, schemas: list[dict[str, Any]], seeds: int) -> list[list[tuple[str, str]]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        limit = asyncio.Semaphore(32)

        async def one(schema: dict[str, Any], seed: int) -> tuple[str, str]:
            async with limit:
                return await _reply(client, schema, seed)

        return [await asyncio.gather(*(one(schema, seed) for seed in range(seeds))) for schema in schemas]


def _check_reply(
    grammars: Grammars,
    name: str,
    schema: dict[str, Any],
    mask: GrammarMask,
    text: str,
    reason: str,
    tally: Tally,
) -> None:
    if reason == "stop":
        try:
            Draft202012Validator(schema).validate(json.loads(text))
            tally.counts["replies ended, valid"] += 1
        except (ValueError, ValidationError) as error:
            tally.counts["replies ended, not valid"] += 1
            tally.wrong.append(f"{name}: {text[:60]!r}: {str(error).splitlines()[0]}")
    # A reply that is cut inside a character cannot be followed.
    elif "\ufffd" in text or grammars.follow(mask, text)[0]:
        tally.counts["replies cut, a beginning"] += 1
    else:
        tally.counts["replies cut, no beginning"] += 1
        tally.wrong.append(f"{name}: cut: {text[:60]!r}")


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--suite", type=Path, required=True, help="folder with additionalProperties.json and others"
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    tally, taken = Tally(), []
    grammars = Grammars(args.checkpoint)
    for name, group in _groups(args.suite):
        try:
            mask = grammars.compile(group["schema"])
        except BadRequest as error:
            tally.counts["schemas refused"] += 1
            tally.reasons[_reason(error)] += 1
            continue
        tally.counts["schemas taken"] += 1
        taken.append((name, group, mask))
        _check_instances(grammars, name, group, mask, tally)
    with pararnn_server(args.checkpoint, 0) as server:
        replies = asyncio.run(_replies(server.port, [group["schema"] for _, group, _ in taken], args.seeds))
    for (name, group, mask), answers in zip(taken, replies, strict=True):
        for text, reason in answers:
            _check_reply(grammars, name, group["schema"], mask, text, reason, tally)
    for label, count in sorted(tally.counts.items()):
        print(f"{count:6} {label}")
    print("\nReasons of refusals:")
    for reason, count in tally.reasons.most_common():
        print(f"{count:6} {reason}")
    print("\nWrong:", *(tally.wrong or ["none"]), sep="\n")


if __name__ == "__main__":
    main()
