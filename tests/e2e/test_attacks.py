"""Attacks by two keys change neither a third key's service nor the server's end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.attacker import ATTACKS
from tests.e2e.serve_process import ServeProcess, serve_process

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "checkpoints" / "paragru-5m-stdlib-int8"
QUIET, *HOSTILE = KEYS = {name: f"{name}-0123456789abcdef" for name in ("quiet", "first", "second")}
# Caches fill up to their budgets, for any key. Even then memory stays within its bound.
CACHE_BYTES = 32 << 20
MEMORY_GROWTH = 256 << 20
DRAIN_SECONDS = 10.0
SCRIPT_TURNS = 8


@dataclass
class QuietClient:
    """Takes turns in sessions of its own, the same script in each; notes every answer and its time.

    The first session warms the key's state cache; from the second on all must be alike.
    """

    http: httpx.Client
    answers: list[list[Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    turn: int = SCRIPT_TURNS
    session: str = ""

    def take_turn(self) -> None:
        if self.turn == SCRIPT_TURNS:
            self.session = self._call("POST", "/v1/sessions", {})["id"]
            self.turn = 0
            self.answers.append([])
        body = {
            "prompt": f"def turn_{self.turn}(path):\n",
            "session_id": self.session,
            "expected_turn": self.turn,
            "max_tokens": 8,
            "ignore_eos": True,
            "temperature": 0,
        }
        began = time.monotonic()
        answer = self._call("POST", "/v1/completions", body)
        self.seconds.append(time.monotonic() - began)
        stored = self._call("GET", f"/v1/sessions/{self.session}")
        seen = [
            answer["choices"],
            answer["usage"],
            stored["tier"],
            stored["num_tokens"],
            stored["history_bytes"],
        ]
        self.answers[-1].append(seen)
        self.turn += 1

    @property
    def is_undisturbed(self) -> bool:
        """True if every session went as the second one did."""
        _, expected, *others = self.answers
        return all(answers == expected[: len(answers)] for answers in others)

    def take_turns(self, seconds: float, pause: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.take_turn()
            time.sleep(pause)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def attacked(
    tmp_path: Path, quiet_seconds: float, attacked_seconds: float, rate: float
) -> tuple[float, float]:
    """The quiet key's p99 of a turn, alone and attacked. All but times is asserted here."""
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name}:{key}\n" for name, key in KEYS.items()))
    options = (
        *("--keys-file", str(keys), "--store", "sqlite", "--data-dir", str(tmp_path / "data")),
        *("--response-ttl-seconds", "2", "--drain-seconds", str(DRAIN_SECONDS)),
        *("--key-max-store-bytes", str(256 << 20), "--key-max-sessions", "500"),
        *("--state-cache-bytes", str(CACHE_BYTES), "--host-state-bytes", str(CACHE_BYTES)),
    )
    headers = {"authorization": f"Bearer {KEYS[QUIET]}"}
    with serve_process(SHIPPED, *options) as serve, httpx.Client(base_url=serve.url, headers=headers) as http:
        client = QuietClient(http)
        client.take_turns(quiet_seconds, pause=0.0 if quiet_seconds < 10 else 0.5)
        quiet, client.seconds = client.seconds, []
        before = serve.resident_memory
        command = [sys.executable, "-m", "tests.e2e.attacker", serve.url, str(attacked_seconds), str(rate)]
        with subprocess.Popen(
            [*command, *(KEYS[name] for name in HOSTILE)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as attacker:
            client.take_turns(attacked_seconds, pause=1.0)
            printed, _ = attacker.communicate()
        result = json.loads(printed)
        growth = serve.resident_memory - before
        p99 = quantile(quiet, 0.99), quantile(client.seconds, 0.99)
        print(
            f"attacks {result['attacks']}, answers {result['statuses']};"
            f" a quiet turn p50 {quantile(quiet, 0.5) * 1e3:.1f} p99 {p99[0] * 1e3:.1f} ms,"
            f" attacked p50 {quantile(client.seconds, 0.5) * 1e3:.1f} p99 {p99[1] * 1e3:.1f} ms;"
            f" resident {before >> 20} MiB {growth >> 20:+d} MiB"
        )
        assert result["faults"] == []
        assert client.is_undisturbed
        assert growth < MEMORY_GROWTH
        assert drained_within(serve, DRAIN_SECONDS + 10)
    return p99


def drained_within(serve: ServeProcess, seconds: float) -> bool:
    """Return True if the server ends cleanly in time."""
    serve.process.send_signal(signal.SIGTERM)
    return serve.process.wait(timeout=seconds) == 0


def test_attacks_change_no_answer_of_another_key_and_cost_bounded_memory(tmp_path: Path) -> None:
    attacked(tmp_path, quiet_seconds=2, attacked_seconds=8, rate=100)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_attacks_for_ten_minutes_delay_a_quiet_key_by_less_than_five_times(tmp_path: Path) -> None:
    quiet, during = attacked(tmp_path, quiet_seconds=60, attacked_seconds=600, rate=200)
    assert during < 5 * quiet


def test_every_attack_is_drawn() -> None:
    assert min(ATTACKS.values()) >= 1
