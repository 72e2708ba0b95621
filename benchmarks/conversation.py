"""A chat of many turns, to compare the time to the first token of late turns and of early ones.

python -m benchmarks.conversation --checkpoint DIR --turns 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pararnn_client import PararnnClient
from pararnn_client.sse import DONE

from benchmarks.load import LoadFailed, events_of
from benchmarks.serving import serving

REPLY_TOKENS = 64
_MESSAGE_WORDS, _REPLY_WORDS = 18, 64
_PAUSE_SECONDS = 0.2  # time in which a person reads the reply
_PAIRS = 15


Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """Medians in seconds of an early turn (the second) and of late ones, measured alternately.

    kind: "stateless", where the client sends the whole history, or "in a session"
    early, late: time to the first token; turn: time of a whole late turn
    """

    kind: str
    turns: int
    early: float
    late: float
    turn: float

    @property
    def ratio(self) -> float:
        """Late time divided by early time."""
        return self.late / self.early

    def __str__(self) -> str:
        late = f"turn {self.turns} {self.late * 1e3:6.2f} ms ({self.ratio:.2f} x)"
        turn = f"{REPLY_TOKENS}-token turn {self.turn * 1e3:.0f} ms"
        return f"{self.kind:14}first token, turn 2 {self.early * 1e3:6.2f} ms, {late}; {turn}"


class _Turn(NamedTuple):
    """Times of a turn: seconds to the first token and to the end."""

    first: float
    whole: float


class _Stateless:
    """A client that sends the whole history in each turn. history: all messages before."""

    kind = "stateless"

    def __init__(self, port: int, history: list[Message]) -> None:
        self._port = port
        self._messages = history

    async def turn(self, seed: int) -> _Turn:
        self._messages.append(_says("user", seed))
        turn, reply = await _ask(self._port, {"messages": self._messages, "seed": seed})
        self._messages.append({"role": "assistant", "content": reply})
        return turn


class _InASession:
    """A client that sends only the new message, and the history with the first turn."""

    kind = "in a session"

    def __init__(self, port: int, history: list[Message]) -> None:
        self._port = port
        self._unsaid = history
        with PararnnClient(f"http://127.0.0.1:{port}") as client:
            self._id = client.sessions.create().id

    async def turn(self, seed: int) -> _Turn:
        messages, self._unsaid = [*self._unsaid, _says("user", seed)], []
        turn, _ = await _ask(self._port, {"messages": messages, "seed": seed, "session_id": self._id})
        return turn


def converse(port: int, turns: int) -> list[Conversation]:
    """Measure the same conversation with both clients. Raises LoadFailed if the server does not answer."""
    return [asyncio.run(_converse(port, turns, way)) for way in (_Stateless, _InASession)]


async def _converse(port: int, turns: int, way: type[_Stateless] | type[_InASession]) -> Conversation:
    """Measure a long conversation, and after each of its turns the second turn of a new one."""
    long = way(port, _history(turns - 1 - _PAIRS // 2))
    await long.turn(0)
    early, late = list[_Turn](), list[_Turn]()
    for pair in range(_PAIRS):
        new = way(port, [])
        await new.turn(2 * pair + 1)
        await asyncio.sleep(_PAUSE_SECONDS)
        early.append(await new.turn(2 * pair + 2))
        await asyncio.sleep(_PAUSE_SECONDS)
        late.append(await long.turn(-pair))
    return Conversation(
        kind=way.kind,
        turns=turns,
        early=statistics.median(turn.first for turn in early),
        late=statistics.median(turn.first for turn in late),
        turn=statistics.median(turn.whole for turn in late),
    )


async def _ask(port: int, body: dict[str, Any]) -> tuple[_Turn, str]:
    """Return the times of a turn and the reply."""
    sent = json.dumps(body | {"max_tokens": REPLY_TOKENS, "ignore_eos": True, "stream": True}).encode()
    start, pieces, first = time.perf_counter(), list[str](), None
    async for at, event in events_of(port, "/v1/chat/completions", sent):
        choices = [] if event == DONE else json.loads(event)["choices"]
        content = choices[0]["delta"].get("content") if choices else None
        if content:
            first = first or at - start
            pieces.append(content)
    if first is None:
        raise LoadFailed("a reply without text")
    return _Turn(first, time.perf_counter() - start), "".join(pieces)


def _history(turns: int) -> list[Message]:
    return [_says(role, seed) for seed in range(turns) for role in ("user", "assistant")]


def _says(role: str, seed: int) -> Message:
    """Return a message of numbers, which every tokenizer has, as long as a short question or a reply."""
    count = _REPLY_WORDS if role == "assistant" else _MESSAGE_WORDS
    numbers = random.Random(f"{role} {seed}").choices(range(1000, 4000), k=count)
    return {"role": role, "content": "".join(f" {number}" for number in numbers)}


def main() -> None:
    """Serve the checkpoint and print both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with serving(arguments.checkpoint, arguments.threads) as port:
        for each in converse(port, arguments.turns):
            print(each)


if __name__ == "__main__":
    main()
