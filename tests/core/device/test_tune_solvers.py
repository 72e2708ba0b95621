"""Rows of the table from timings; the timings themselves need a GPU."""

from collections.abc import Mapping

from pararnn_core.device.tune_solvers import LENGTHS, ROOMS, SOLVERS, Timing, lines, rows
from pararnn_core.solvers.solver_table import STEP_BY_STEP, SolverTable


def timing(fastest: int, by: float = 2.0) -> Timing:
    return {solver: 1.0 if solver == fastest else by for solver in SOLVERS}


def timings(steps: Mapping[float, Mapping[int, int]]) -> dict[float, dict[int, Timing]]:
    """Make timings. steps: for each number of channels, the fastest solver from a number of tokens on."""
    return {
        room: {
            n: timing(
                ([STEP_BY_STEP] + [solver for least, solver in sorted(solvers.items()) if least <= n])[-1]
            )
            for n in LENGTHS
        }
        for room, solvers in steps.items()
    }


def test_a_row_says_from_how_many_tokens_on_which_way_is_the_fastest() -> None:
    assert rows(timings({1: {64: 1, 512: 4}, 8: {256: 2}})) == [(1, [(64, 1), (512, 4)]), (8, [(256, 2)])]


def test_a_single_lucky_length_is_no_step() -> None:
    measured = timings({1: {512: 1}})
    measured[1][64] = timing(1)
    assert rows(measured) == [(1, [(512, 1)])]


def test_a_way_that_gains_next_to_nothing_is_no_step() -> None:
    measured = timings({1: {64: 1}})
    measured[1][1024] = timing(2, by=1.01)
    assert rows(measured) == [(1, [(64, 1)])]


def test_rows_end_where_newton_never_wins() -> None:
    assert rows(timings({1: {256: 1}, 4: {}, 8: {16: 1}})) == [(1, [(256, 1)])]
    assert rows(timings({1: {}})) == []


def test_what_was_measured_chooses_the_faster_way() -> None:
    table = SolverTable("a chip", {"gru": {"float32": rows(timings({1: {64: 4}, 8: {512: 1}, 16: {}}))}})
    assert table.time_warps("gru", "float32", 100, 64, multiprocessors=100) == 4
    assert table.time_warps("gru", "float32", 800, 64, multiprocessors=100) == STEP_BY_STEP
    assert table.time_warps("gru", "float32", 800, 512, multiprocessors=100) == 1
    assert table.time_warps("gru", "float32", 1600, 1 << 20, multiprocessors=100) == STEP_BY_STEP


def test_measured_table_is_printed_row_by_row() -> None:
    text = lines("gru, float32", timings({room: {128: 2} for room in ROOMS}))
    assert text[0] == "gru, float32: sequential / newton 1 / newton 2 / newton 4, us"
    assert len(text) == 3 + 1 + len(ROOMS) + 1
    assert text[4].startswith("| 1 | 1000000.0 / 2000000.0 / 2000000.0 / 2000000.0 |")
