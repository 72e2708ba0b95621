"""A share is the speed over the limit of the same run; a table and a JSON file hold every figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pararnn_server.bench.core import CHUNK, CoreRun
from pararnn_server.bench.measure import (
    MATRIX_RATE,
    READ_BANDWIDTH,
    Figure,
    Limits,
    Plan,
    Workload,
    measure,
    peer_figures,
    subject_figures,
)
from pararnn_server.bench.subject import Subject
from pararnn_server.bench.table import HEADINGS, LIMIT_HEADINGS, figure_row, limit_rows, markdown
from pararnn_server.bench.timing import Repetition, Spread

from tests.fixtures import tiny_checkpoint, tiny_model

ONE = Spread(1.0, 1.0, 1.0, 1)


class FakePeer:
    """A model that takes a tenth of a second for every operation."""

    label, weights, decode_bytes = "other tiny q8_0", "int8", 1000

    def case(self, test: Workload) -> Repetition | None:
        return None if test.kind == "prefill" else lambda: 0.1


def _silent(_: str) -> None:
    """Nobody watches."""


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject.of_checkpoint(tiny_checkpoint(tmp_path / "tiny"))


def _figure(subject: Subject, test: Workload, *, bandwidth: float, operations: float) -> Figure:
    limits = Limits(
        2, {"float32": ONE.map(lambda x: operations * x)}, {subject.label: ONE.map(lambda x: bandwidth * x)}
    )
    (figure,) = subject_figures(
        subject, [test], {f"{subject.label} {test}": Spread(2.0, 1.0, 4.0, 3)}, limits
    )
    return figure


def test_where_reading_takes_longer_the_limit_is_the_batch_over_its_time(subject: Subject) -> None:
    figure = _figure(subject, Workload("decode", 4), bandwidth=subject.decode_bytes / 0.5, operations=1e30)
    assert (figure.limited_by, figure.limit) == (READ_BANDWIDTH, 8.0)
    assert figure.tokens_per_second == Spread(2.0, 1.0, 4.0, 3)
    assert figure.share == 0.25


def test_where_products_take_longer_the_limit_is_theirs(subject: Subject) -> None:
    work = subject.prefill_operations(100)
    figure = _figure(subject, Workload("prefill", 100), bandwidth=1e30, operations=work / 0.5)
    assert (figure.limited_by, figure.limit) == (MATRIX_RATE, 200.0)
    assert figure.share == 0.25


def test_a_peer_has_a_limit_where_reading_alone_sets_it() -> None:
    peer = FakePeer()
    tests = [Workload("prefill", 8), Workload("decode", 1), Workload("decode", 32)]
    times = {f"{peer.label} {test}": Spread(0.1, 0.1, 0.1, 1) for test in tests[1:]}
    limits = Limits(2, {}, {peer.label: Spread(1e5, 1e5, 1e5, 1)})
    alone, many = peer_figures(peer, tests, times, limits)
    assert (alone.limit, alone.share) == (100.0, pytest.approx(0.1))
    assert (many.limit, many.share) == (None, None)
    assert many.tokens_per_second.median == pytest.approx(320)


def test_one_run_measures_models_peers_and_their_limits(subject: Subject) -> None:
    found = measure([subject], Plan([4], [1, 2], 1, 60.0), _silent, [FakePeer()])
    assert [(figure.label, figure.test) for figure in found.figures] == [
        (subject.label, "prefill 4"),
        (subject.label, "decode b1"),
        (subject.label, "decode b2"),
        ("other tiny q8_0", "decode b1"),
        ("other tiny q8_0", "decode b2"),
    ]
    assert [figure.is_peer for figure in found.figures] == [False] * 3 + [True] * 2
    assert all(0 < (figure.share or 0) < 1 for figure in found.figures[:3])
    assert set(found.limits.bandwidth) == {subject.label, "other tiny q8_0"}
    assert all(rate.median > 0 for rate in found.limits.operations.values())


def test_a_table_has_a_row_for_every_figure_and_limit(subject: Subject) -> None:
    figure = _figure(subject, Workload("decode", 1), bandwidth=subject.decode_bytes / 0.5, operations=1e30)
    limits = Limits(2, {"int8": Spread(3e11, 2e11, 4e11, 3)}, {"tiny": Spread(3e10, 2e10, 4e10, 3)})
    text = markdown(HEADINGS, [figure_row(figure)])
    assert "| tiny gru f32 |" in text
    assert "25%" in text
    assert len({len(line) for line in text.splitlines()}) == 1
    rows = limit_rows([limits])
    assert all(len(row) == len(LIMIT_HEADINGS) for row in rows)
    assert [row[2] for row in rows] == ["30.0 GB/s", "300 Gop/s"]


def test_a_prefill_of_several_chunks_leaves_the_state_of_one_sequence() -> None:
    run = CoreRun(tiny_model().pack(), 1)
    assert run.prefill(2 * CHUNK + 3)() > 0
    assert run.decode(1)() > 0


def test_a_run_counts_as_it_is_told_and_feeds_chunks_of_its_own() -> None:
    model = tiny_model().pack()
    lengths: list[int] = []
    step = model.step

    def counted(tokens: torch.Tensor, *rest: Any, **others: Any) -> torch.Tensor:
        lengths.append(len(tokens))
        return step(tokens, *rest, **others)

    def twelve(work: Callable[[], object]) -> float:
        work()
        return 12.0

    model.step = counted  # type: ignore[method-assign]  # a wrapper of it
    run = CoreRun(model, 2, chunk=5, timed=twelve)
    assert (run.prefill(12)(), lengths) == (12.0, [5, 5, 2])
    lengths.clear()
    assert (run.decode(2, steps=4)(), lengths) == (3.0, [2] * 5)
    lengths.clear()
    assert (run.generate(2, 5, 3)(), lengths) == (12.0, [5, 5, 2, 2])
