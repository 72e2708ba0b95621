"""What the benchmark counts is what there is to count."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from pararnn_server.loading import load
from pararnn_server.settings import Settings
from pararnn_server.tokenizer import Tokenizer

from benchmarks.breakdown import breakdown
from benchmarks.core import CHUNK, CoreRun
from benchmarks.filler_tokenizer import write_filler_tokenizer
from benchmarks.limits import Reader
from benchmarks.load import Load, run_load
from benchmarks.machine import Machine
from benchmarks.measure import BATCHES, STREAMS
from benchmarks.report import CoreFigure, Report, SubjectResult
from benchmarks.serving import ServingFigures, summary
from benchmarks.subjects import DTYPES, Subject, random_presets
from benchmarks.timing import Spread
from tests.fixtures import tiny_checkpoint, tiny_config, tiny_model
from tests.server.http_server import serving


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bytes_per_step_are_those_of_all_packed_matrices_and_the_vectors(
    cell: str, tied: bool, dtype: str
) -> None:
    config = tiny_config(cell, tie_embeddings=tied, dtype=dtype)
    parameters = dict(tiny_model(cell, tie_embeddings=tied, dtype=dtype).named_parameters())
    read = {name: each for name, each in parameters.items() if tied or name != "embedding.weight"}
    assert Subject("tiny", config).decode_bytes == sum(each.nbytes for each in read.values())


def test_a_prefill_of_several_chunks_leaves_the_state_of_one_sequence() -> None:
    run = CoreRun(tiny_model().pack(), 1)
    assert run.prefill(2 * CHUNK + 3)() > 0
    assert run.decode(1)() > 0


def test_shares_of_a_prefill_add_up_to_one() -> None:
    shares = breakdown(CoreRun(tiny_model().pack(), 1).prefill(64))
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 < share < 1 for share in shares.values())


@pytest.mark.parametrize("huge_pages", [False, True])
def test_the_reader_reads_all_that_it_claims(huge_pages: bool) -> None:
    reader = Reader(8 << 20, 2, huge_pages=huge_pages)
    assert reader.bytes_per_repetition >= 1 << 30
    assert reader.repeat() > 0


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


def test_a_report_has_a_row_for_every_figure_and_survives_json() -> None:
    speed = Spread(90.0, 80.0, 100.0, 3)
    subject = SubjectResult(
        name="tiny",
        cell="gru",
        dtype="float32",
        num_parameters=10**6,
        decode_bytes=4 * 10**6,
        state_bytes=1000,
        read_bandwidth=Spread(3e10, 2e10, 4e10, 3),
        matrix_rates={"float32": Spread(3e11, 2e11, 4e11, 3), "bfloat16": Spread(3e11, 2e11, 4e11, 3)},
        core=[CoreFigure(f"decode, batch {batch}", speed, 100.0, "read bandwidth") for batch in BATCHES],
        prefill_shares={
            "matrix products": 0.9,
            "recurrence": 0.03,
            "convolution": 0.02,
            "norms, gates, sums": 0.02,
            "other": 0.03,
        },
        serving=[
            ServingFigures(streams, speed.map(lambda rate: rate * 0.9), 0.1, 0.2, 0.01, 0.02)
            for streams in STREAMS
        ],
    )
    report = Report(Machine.here(), "2026-01-01", "command", 2, "avx2", [subject], ["other float32"])
    text = report.to_markdown()
    names = [f"decode, batch {batch} " for batch in BATCHES] + [f"server, {n} streams" for n in STREAMS]
    for name in names:
        assert sum(name in line and "90%" in line for line in text.splitlines()) == 1
    assert "7.0%" in text
    assert "other float32" in text
    assert json.loads(report.to_json())["subjects"][0]["core"][0]["tokens_per_second"]["median"] == 90.0


def test_both_small_presets_are_measured_in_both_weight_types() -> None:
    labels = {subject.label for subject in random_presets()}
    assert labels == {f"random {size} {dtype}" for size in ("25m", "130m") for dtype in DTYPES}
