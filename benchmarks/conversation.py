"""A chat of many turns: whether a late turn's first token comes as soon as an early one's.

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
from typing import Any

from pararnn_client import PararnnClient
from pararnn_client.sse import DONE

from benchmarks.load import LoadFailed, events_of
from benchmarks.serving import serving

REPLY_TOKENS = 64
_WORDS = ("the", "function", "returns", "a", "list", "of", "items", "that", "it", "found", "in", "files")
_MESSAGE_WORDS = 18
_PAUSE_SECONDS = 0.2  # a person reads the reply
_AVERAGED = 5


@dataclass(frozen=True)
class Conversation:
    """Medians in seconds. early, late: to the first token, turns 2 to 6 and the last five; turn: a late one.

    kind: "stateless", where the client sends all of it again, or "in a session".
    """

    kind: str
    turns: int
    early: float
    late: float
    turn: float

    @property
    def ratio(self) -> float:
        """Of late to early."""
        return self.late / self.early

    def __str__(self) -> str:
        late = f"turn {self.turns} {self.late * 1e3:6.2f} ms ({self.ratio:.2f} x)"
        turn = f"{REPLY_TOKENS}-token turn {self.turn * 1e3:.0f} ms"
        return f"{self.kind:14}first token, turn 2 {self.early * 1e3:6.2f} ms, {late}; {turn}"


def converse(port: int, turns: int) -> list[Conversation]:
    """The same conversation both ways. LoadFailed for a server that does not answer."""
    return [asyncio.run(_stateless(port, turns)), asyncio.run(_in_a_session(port, turns))]


async def _stateless(port: int, turns: int) -> Conversation:
    messages: list[dict[str, str]] = []
    firsts, wholes = list[float](), list[float]()
    for turn in range(turns):
        messages.append({"role": "user", "content": _message(turn)})
        first, whole, reply = await _turn(port, {"messages": messages, "seed": turn})
        messages.append({"role": "assistant", "content": reply})
        firsts.append(first)
        wholes.append(whole)
        await asyncio.sleep(_PAUSE_SECONDS)
    return _conversation("stateless", firsts, wholes)


async def _in_a_session(port: int, turns: int) -> Conversation:
    with PararnnClient(f"http://127.0.0.1:{port}") as client:
        session = client.sessions.create().id
    firsts, wholes = list[float](), list[float]()
    for turn in range(turns):
        said = [{"role": "user", "content": _message(turn)}]
        first, whole, _ = await _turn(port, {"messages": said, "seed": turn, "session_id": session})
        firsts.append(first)
        wholes.append(whole)
    return _conversation("in a session", firsts, wholes)


async def _turn(port: int, body: dict[str, Any]) -> tuple[float, float, str]:
    """Seconds to the first token, seconds to the end, and the reply."""
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
    return first, time.perf_counter() - start, "".join(pieces)


def _message(turn: int) -> str:
    return " ".join(random.Random(turn).choices(_WORDS, k=_MESSAGE_WORDS))


def _conversation(kind: str, firsts: list[float], wholes: list[float]) -> Conversation:
    return Conversation(
        kind=kind,
        turns=len(firsts),
        early=statistics.median(firsts[1 : 1 + _AVERAGED]),
        late=statistics.median(firsts[-_AVERAGED:]),
        turn=statistics.median(wholes[-_AVERAGED:]),
    )


def main() -> None:
    """Serves the checkpoint and prints both ways."""
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
