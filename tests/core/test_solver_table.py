"""The choice between Newton and the sequential scan, from a table of thresholds."""

from pathlib import Path

import pytest

from pararnn_core.solver_table import SolverTable, read_table

TABLE = SolverTable("a chip", {"gru": {"float32": [(16, 128), (48, 512)]}})


@pytest.mark.parametrize(
    ("channels", "longest", "newton"),
    [(1600, 128, True), (1600, 127, False), (1601, 511, False), (1601, 512, True), (4801, 1 << 20, False)],
)
def test_newton_wins_where_channels_are_few_and_sequences_long(
    channels: int, longest: int, newton: bool
) -> None:
    assert TABLE.prefers_newton("gru", "float32", channels, longest, multiprocessors=100) is newton


def test_what_the_table_does_not_know_goes_step_by_step() -> None:
    assert not TABLE.prefers_newton("lstm", "float32", 1, 1 << 20, 100)
    assert not TABLE.prefers_newton("gru", "float16", 1, 1 << 20, 100)


def test_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(TABLE.encode())
    assert read_table(path) == TABLE


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_table_of_the_project_rises_and_never_sends_a_decode_to_newton(cell: str, dtype: str) -> None:
    table = read_table()
    rooms, lengths = zip(*table.newton_from[cell][dtype], strict=True)
    assert list(rooms) == sorted(set(rooms))
    assert list(lengths) == sorted(lengths)
    assert not table.prefers_newton(cell, dtype, channels=1, longest=1, multiprocessors=132)
