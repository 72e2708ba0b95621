"""Packing and its tiles of time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pararnn_core.solvers.varlen import check_cu_seqlens, equal_cu_seqlens, time_tiles


@given(lengths=st.lists(st.integers(0, 12), max_size=6), span=st.integers(1, 15))
def test_tiles_hold_every_token_once_in_order_of_time(lengths: list[int], span: int) -> None:
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    layout = time_tiles(cu_seqlens, span)
    seen = []
    for number, tile in enumerate(layout.tiles()):
        sequences = layout.by_length[: tile.active].tolist()
        assert sorted(sequences) == [s for s, length in enumerate(lengths) if length > number * span]
        expected = [
            range(
                int(cu_seqlens[s]) + number * span, int(cu_seqlens[s]) + min(lengths[s], (number + 1) * span)
            )
            for s in sequences
        ]
        assert tile.rows.tolist() == [row for rows in expected for row in rows]
        assert tile.rows[tile.first].tolist() == [rows[0] for rows in expected]
        assert tile.rows[tile.last].tolist() == [rows[-1] for rows in expected]
        assert tile.starts.nonzero().flatten().tolist() == tile.first.tolist()
        seen += tile.rows.tolist()
    assert sorted(seen) == list(range(sum(lengths)))


@pytest.mark.parametrize(
    ("cu_seqlens", "why"),
    [
        (torch.tensor([0, 4]), "int32"),
        (torch.tensor([0.0, 4.0]), "int32"),
        (torch.tensor([], dtype=torch.int32), "shape"),
        (torch.tensor([[0, 4]], dtype=torch.int32), "shape"),
        (torch.tensor([1, 4], dtype=torch.int32), "start at 0"),
        (torch.tensor([0, 3, 2, 4], dtype=torch.int32), "never fall"),
        (torch.tensor([0, 3], dtype=torch.int32), "end at the number of tokens 4"),
        (torch.tensor([0, 5], dtype=torch.int32), "end at the number of tokens 4"),
        (torch.tensor([0], dtype=torch.int32), "end at the number of tokens 4"),
    ],
)
def test_bad_cu_seqlens_is_named(cu_seqlens: torch.Tensor, why: str) -> None:
    with pytest.raises(ValueError, match=f"^cu_seqlens: .*{why}"):
        check_cu_seqlens(cu_seqlens, 4)


def test_equal_lengths_are_valid() -> None:
    for batch, length in ((0, 3), (1, 0), (3, 4)):
        check_cu_seqlens(equal_cu_seqlens(batch, length, torch.device("cpu")), batch * length)
