"""Thresholds from timings; the timings themselves need a GPU."""

from pararnn_core import tune_solvers
from pararnn_core.solver_table import SolverTable
from pararnn_core.tune_solvers import LENGTHS, ROOMS, Timing, lines, thresholds


def timings(newton_from: dict[float, int | None]) -> dict[float, dict[int, Timing]]:
    """Newton is the faster one from so many tokens on; None: never."""
    return {
        room: {n: Timing(2.0, 1.0 if start is not None and n >= start else 3.0) for n in LENGTHS}
        for room, start in newton_from.items()
    }


def test_thresholds_are_the_fewest_tokens_from_which_newton_always_wins() -> None:
    assert thresholds(timings({1: 64, 2: 64, 4: 256})) == [(1, 64), (2, 64), (4, 256)]


def test_a_single_lucky_length_is_no_threshold() -> None:
    measured = timings({1: 512})
    measured[1][64] = Timing(2.0, 1.0)
    assert thresholds(measured) == [(1, 512)]


def test_thresholds_end_where_newton_never_wins_and_never_fall() -> None:
    assert thresholds(timings({1: 256, 2: 128, 4: None, 8: 16})) == [(1, 256), (2, 256)]
    assert thresholds(timings({1: None})) == []


def test_what_was_measured_chooses_the_faster_way() -> None:
    table = SolverTable("a chip", {"gru": {"float32": thresholds(timings({1: 64, 8: 512, 16: None}))}})
    assert table.prefers_newton("gru", "float32", 100, 64, multiprocessors=100)
    assert not table.prefers_newton("gru", "float32", 800, 64, multiprocessors=100)
    assert not table.prefers_newton("gru", "float32", 1600, 1 << 20, multiprocessors=100)


def test_measured_table_is_printed_row_by_row() -> None:
    text = lines("gru, float32", timings(dict.fromkeys(ROOMS, 128)))
    assert text[0] == "gru, float32: sequential / newton, us"
    assert len(text) == 3 + 1 + len(ROOMS) + 1
    assert text[4].startswith("| 1 | 2000000.0 / 3000000.0 |")
    assert set(tune_solvers._CELLS) == {"gru", "lstm"}
