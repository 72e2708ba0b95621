"""Measures of the benchmark equal exact counts."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.bench.machine import Machine
from pararnn_server.bench.measure import Figure, Limits, Workload
from pararnn_server.bench.timing import Spread
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.tokenizer import Tokenizer

from benchmarks.conversation import Conversation
from benchmarks.filler_tokenizer import write_filler_tokenizer
from benchmarks.groups import groups
from benchmarks.llama_cpp.peer import llama_peers
from benchmarks.llama_cpp.sizes import SIZES
from benchmarks.load import Load, run_load
from benchmarks.parts import Found, Served, Start
from benchmarks.report import Report
from benchmarks.serving import ServingFigures, percentile, server_process, summary
from benchmarks.sessions import Parked
from benchmarks.stall import Stall
from benchmarks.targets import targets
from tests.fixtures import tiny_checkpoint
from tests.server.http_server import serving

ANSWERING = f"""#!{sys.executable}
import json, sys
ready = {{"path": "model.gguf", "weight_bytes": 60000000, "version": "fake 1"}}
print(json.dumps({{"ready": ready}}), flush=True)
for line in sys.stdin:
    ((kind, amount),) = json.loads(line).items()
    print(json.dumps({{"seconds": amount / 1000}}), flush=True)
"""
FAILING = f"""#!{sys.executable}
import sys
sys.exit("there is no llama_cpp here")
"""


def _speed(median: float) -> Spread:
    return Spread(median, median * 0.9, median * 1.1, 3)


def _figure(label: str, weights: str, test: str, speed: float, limit: float | None = 100.0) -> Figure:
    peer = label.startswith("llama.cpp")
    return Figure(label, weights, 10**8, 2, test, _speed(speed), limit, "read bandwidth", peer)


def _found() -> Found:
    loads = [ServingFigures(streams, _speed(10.0 * streams), 0.1, 0.2, 0.01, 0.02) for streams in (1, 8, 32)]
    peer_loads = [
        ServingFigures(streams, _speed(4.0 * streams), 0.1, 0.2, 0.01, 0.02) for streams in (1, 8, 32)
    ]
    stall = Stall(0.01, 0.02, 0.02, 0.025, 0.05, 1.0)
    return Found(
        figures=[
            _figure("random 130m gru int8", "int8", "decode b1", 90.0),
            _figure("random 130m gru int8", "int8", "decode b32", 360.0),
            _figure("random 130m gru int8", "int8", "prefill 512", 300.0),
            _figure("random 130m gru int4", "int4", "decode b1", 60.0),
            _figure("llama.cpp mamba2 130M q8_0", "int8", "decode b1", 30.0),
            _figure("llama.cpp rwkv7 170M q8_0", "int8", "decode b1", 45.0),
            _figure("llama.cpp rwkv7 170M q4_0", "int4", "prefill 512", 250.0, None),
            _figure("llama.cpp rwkv7 430M q8_0", "int8", "decode b1", 1.0),
        ],
        limits=[Limits(2, {"int8": _speed(3e11)}, {"random 130m gru int8": _speed(3e10)})],
        served=[
            Served("random 130m gru int8", False, loads, [stall], _speed(400.0)),
            Served("llama-server rwkv7 170M q8_0", True, peer_loads),
        ],
        starts=[Start("random 1.4b gru int4", 800 << 20, 100 << 20, 2.5, 0.1, 1000 << 20)],
        parked=[Parked(10, 1000, 1020, 1100, *([0.001] * 5), 0.002, 0.01)],
        conversations=[
            ("random 130m gru int8", Conversation("stateless", 200, 0.01, 0.012, 0.1)),
            ("shipped", Conversation("in a session", 200, 0.01, 0.009, 0.1)),
        ],
        peer_versions={"fake 1"},
        notes=["something is absent"],
    )


def test_every_target_is_a_share_or_ratio_of_its_own_figures() -> None:
    values = {each.what: each.value for each in targets(_found()) if each.value is not None}
    assert values == pytest.approx(
        {
            "130m int8, decode b1, share of the limit": 0.9,
            "130m int4, decode b1, share of the limit": 0.6,
            "130m int8, decode b1, of the best peer's": 2.0,
            "130m int8, prefill 512, of the best peer's in any format": 1.2,
            "130m int8, decode b32, of b1's": 4.0,
            "130m int8, server of 32 streams, of the model's decode b32 (no prompts)": 320 / 360,
            "130m int8, server of 32 streams, of the model alone on the same work": 0.8,
            "130m int8, server of 32 streams, of the best llama-server's": 2.5,
            "between tokens while a long prompt is read, p99 of its quiet median": 2.5,
            "random 1.4b gru int4, server ready": 2.5,
            "random 1.4b gru int4, memory beyond weights and sessions, of 400 MiB": 0.25,
            "10 waiting sessions, resident memory of their states' size": 1.02,
            "10 waiting sessions, store of their states' size": 1.1,
            "random 130m gru int8, chat stateless, first token of turn 200, of turn 2's": 1.2,
            "random 130m gru int8, chat stateless, commit, of a 64-token turn": 0.02,
            "shipped, chat in a session, first token of turn 200, of turn 2's": 0.9,
        }
    )
    reached = {each.what: each.is_reached for each in targets(_found()) if each.value is not None}
    assert [what for what, is_reached in reached.items() if not is_reached] == [
        "130m int4, decode b1, share of the limit",
        "130m int8, prefill 512, of the best peer's in any format",
        "130m int8, decode b32, of b1's",
        "random 130m gru int8, chat stateless, first token of turn 200, of turn 2's",
    ]


def test_what_was_not_measured_reaches_no_target() -> None:
    assert {each.is_reached for each in targets(Found())} == {None}


def test_a_report_holds_every_figure_and_survives_json() -> None:
    found = _found()
    report = Report(Machine.here(), "2026-01-01", "command", 2, "avx2", 60.0, found)
    text, data = report.to_markdown(), json.loads(report.to_json())
    for figure in found.figures:
        assert sum(figure.label in line and f" {figure.test} " in line for line in text.splitlines()) == 1
    assert sum(line.startswith("| llama-server rwkv7") for line in text.splitlines()) == 3
    assert "2.5x" in text
    assert "something is absent" in text
    assert "fake 1" in text
    assert [each["label"] for each in data["found"]["figures"]] == [each.label for each in found.figures]
    assert [each["what"] for each in data["targets"]] == [each.what for each in targets(found)]


def test_every_size_of_ours_stands_beside_peers_of_its_weights() -> None:
    by_name = {group.name: group for group in groups()}
    for preset in ("25m", "130m", "406m", "1.4b"):
        group = by_name[preset]
        assert {each.weights for each in group.subjects} >= {"bf16", "int8", "int4"}
        assert {size.architecture for size, _ in group.peers} == {"mamba2", "rwkv7"}
        assert {weights for _, weights in group.peers} >= {"q8_0", "q4_0"}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_peer_has_as_many_weights_as_its_name_says(size: object) -> None:
    (found,) = [each for each in SIZES if each is size]
    total = 0
    for tensor in found.tensors():
        count = 1
        for length in tensor.shape:
            count *= length
        total += count
    scale = {"M": 1e6, "B": 1e9}[found.label[-1]]
    named = float(found.label[:-1]) * scale
    assert 0.85 < total / named < 1.2


def _interpreter(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_peer_answers_a_repetition_at_a_time(tmp_path: Path) -> None:
    python = _interpreter(tmp_path / "python", ANSWERING)
    with llama_peers([(SIZES[1], "bf16")], python, tmp_path / "models", 2) as (peers, notes):
        (peer,) = peers
        alone, many = peer.case(Workload("decode", 1)), peer.case(Workload("decode", 32))
        assert alone is not None
        assert many is not None
        assert [alone(), many(), alone()] == [0.001, 0.032, 0.001]
        assert peer.case(Workload("decode", 8)) is None
        assert peer.case(Workload("prefill", 2048)) is None
    assert (peer.label, peer.weights) == ("llama.cpp rwkv7 25M bf16", "bf16")
    assert peer.decode_bytes == 60_000_000 - 2 * 8192 * 384
    assert notes == []


def test_a_peer_that_cannot_run_is_a_note_that_says_why(tmp_path: Path) -> None:
    python = _interpreter(tmp_path / "python", FAILING)
    with llama_peers([(SIZES[0], "q8_0")], python, tmp_path / "models", 2) as (peers, notes):
        assert peers == []
    assert notes == ["llama.cpp mamba2 25M q8_0: there is no llama_cpp here"]


def test_a_servers_memory_is_that_of_its_process() -> None:
    script = (
        "import sys,http.server as h\nkept=bytearray(50<<20)\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        " def do_GET(self): self.send_response(200); self.end_headers()\n"
        " def log_message(self,*a): pass\n"
        "h.HTTPServer(('127.0.0.1',int(sys.argv[1])),A).serve_forever()\n"
    )
    with server_process(lambda port: [sys.executable, "-c", script, str(port)], ready_at="/") as server:
        assert 50 << 20 < server.resident_bytes < 500 << 20
        assert 0 < server.ready_seconds < 60


def test_every_id_of_the_filler_tokenizer_has_text(tmp_path: Path) -> None:
    write_filler_tokenizer(tmp_path / "tokenizer.json", 1000)
    tokenizer = Tokenizer(tmp_path, 1000)
    assert all(tokenizer.token_bytes)


def test_a_load_counts_every_token_once(tmp_path: Path) -> None:
    loaded = load(Settings(checkpoint=str(tiny_checkpoint(tmp_path / "tiny"))))
    with serving(loaded) as server:
        port = int(server.url.rsplit(":", 1)[1])
        load_ = Load(streams=3, prompt_tokens=5, max_tokens=20, vocab_size=256)
        streams = asyncio.run(run_load(port, load_, seed=1))
        assert server.metric("pararnn_generation_tokens_total") == 60
    assert [each.completion_tokens for each in streams] == [20] * 3
    assert all(0 < len(each.between) < 20 and each.first > 0 for each in streams)
    assert summary(streams, 2.0).tokens_per_second == 30


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=300), percent=st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_enough_others_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
