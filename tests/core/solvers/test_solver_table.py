"""The choice between Newton and the sequential scan, from a table of thresholds."""

from pathlib import Path

import pytest

from pararnn_core.solvers.solver_table import STEP_BY_STEP, TABLE_PATH, SolverTable, read_table

TABLE = SolverTable("a chip", {"gru": {"float32": [(16, [(128, 1), (256, 4)]), (48, [(512, 2)])]}})


@pytest.mark.parametrize(
    ("channels", "longest", "warps"),
    [(1600, 255, 1), (1600, 256, 4), (1600, 127, 0), (1601, 511, 0), (1601, 512, 2), (4801, 1 << 20, 0)],
)
def test_newton_wins_where_channels_are_few_and_sequences_long(
    channels: int, longest: int, warps: int
) -> None:
    assert TABLE.time_warps("gru", "float32", channels, longest, multiprocessors=100) == warps


def test_what_the_table_does_not_know_goes_step_by_step() -> None:
    assert TABLE.time_warps("lstm", "float32", 1, 1 << 20, 100) == STEP_BY_STEP
    assert TABLE.time_warps("gru", "float16", 1, 1 << 20, 100) == STEP_BY_STEP


def test_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(TABLE.encode())
    assert read_table(path) == TABLE
    assert TABLE_PATH.read_text() == read_table().encode()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_table_of_the_project_rises_and_never_sends_a_decode_to_newton(cell: str, dtype: str) -> None:
    table = read_table()
    rows = table.rows[cell][dtype]
    rooms = [room for room, _ in rows]
    assert rooms == sorted(set(rooms))
    for _, steps in rows:
        assert [tokens for tokens, _ in steps] == sorted({tokens for tokens, _ in steps})
        assert {warps for _, warps in steps} <= {1, 2, 4}
    assert table.time_warps(cell, dtype, channels=1, longest=1, multiprocessors=132) == STEP_BY_STEP
    assert table.time_warps(cell, dtype, channels=1, longest=1 << 20, multiprocessors=132) > 0
