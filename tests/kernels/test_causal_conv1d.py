"""The causal convolution and its tail against float64."""

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from tests.kernels import reference
from tests.kernels.reference import CHANNELS, LENGTHS, normal, relative_error

DTYPES = (torch.float32, torch.bfloat16)


class Conv:
    def __init__(
        self,
        generator: torch.Generator,
        channels: int,
        width: int = 4,
        dtype: torch.dtype = torch.float32,
        lengths: tuple[int, ...] = LENGTHS,
    ) -> None:
        self.lengths, self.channels, self.width, self.dtype = lengths, channels, width, dtype
        self.v = normal(generator, sum(lengths), 2 * channels)[:, :channels]
        self.weight, self.bias = normal(generator, channels, width), normal(generator, channels)
        self.past = normal(generator, len(lengths), width - 1, channels).to(dtype)
        self.held = torch.ones(len(lengths), dtype=torch.bool)

    def native(self, pool: Tensor, slots: Tensor, activation: str = "silu") -> Tensor:
        cu_seqlens = reference.cu_seqlens(self.lengths)
        return ops.causal_conv1d_(
            self.v, self.weight, self.bias, activation, cu_seqlens, slots, self.held, pool
        )

    def pool(self) -> tuple[Tensor, Tensor]:
        """(slots, K-1, D), strided, NaN where no sequence is."""
        count = len(self.lengths)
        whole = torch.full((2 * count, 2, self.width, self.channels + 3), float("nan"), dtype=self.dtype)
        pool = whole[:, 1, : self.width - 1, 1 : self.channels + 1]
        slots = torch.arange(count, dtype=torch.int32).flip(0) * 2
        pool[slots.long()] = self.past
        return pool, slots

    def sequences(self) -> list[tuple[Tensor, Tensor]]:
        """(rows rounded to the state's dtype, past) of every sequence."""
        return list(zip(self.v.to(self.dtype).split(self.lengths), self.past, strict=True))

    def expected(self, activation: str) -> Tensor:
        parts = [
            reference.causal_conv1d(v, past, self.weight, self.bias, activation)
            for v, past in self.sequences()
        ]
        return torch.cat(parts)

    def expected_tails(self) -> Tensor:
        return torch.stack([torch.cat([past, v])[v.shape[0] :] for v, past in self.sequences()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["silu", "none"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_outputs_and_tails_match_float64(
    generator: torch.Generator, channels: int, activation: str, dtype: torch.dtype
) -> None:
    conv = Conv(generator, channels, dtype=dtype)
    pool, slots = conv.pool()
    got = conv.native(pool, slots, activation)
    assert relative_error(got, conv.expected(activation)) < 2e-6
    assert torch.equal(pool[slots.long()], conv.expected_tails())
    assert pool[1::2].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", range(1, 9))
def test_every_width(generator: torch.Generator, width: int, dtype: torch.dtype) -> None:
    conv = Conv(generator, 37, width, dtype)
    pool, slots = conv.pool()
    assert relative_error(conv.native(pool, slots), conv.expected("silu")) < 2e-6
    assert torch.equal(pool[slots.long()], conv.expected_tails())


def test_no_initial_state_ignores_what_the_slot_holds(generator: torch.Generator) -> None:
    conv = Conv(generator, 20)
    conv.past.zero_()
    conv.held[:] = False
    pool = torch.full((len(LENGTHS), 3, 20), float("nan"))
    slots = torch.arange(len(LENGTHS), dtype=torch.int32)
    assert relative_error(conv.native(pool, slots), conv.expected("silu")) < 2e-6
    assert torch.equal(pool, conv.expected_tails())


def test_padding_slot_is_skipped_and_gives_zeros(generator: torch.Generator) -> None:
    conv = Conv(generator, 20, lengths=(3, 4))
    pool = conv.past.clone()
    got = conv.native(pool, torch.tensor([-1, 0], dtype=torch.int32))
    assert torch.equal(got[:3], torch.zeros(3, 20))
    assert torch.equal(pool[1], conv.past[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_do_not_change_bits(generator: torch.Generator, dtype: torch.dtype) -> None:
    whole = Conv(generator, 45, dtype=dtype, lengths=(40,))
    slots = torch.zeros(1, dtype=torch.int32)
    pool = whole.past.clone()
    want = whole.native(pool, slots)
    v, past = whole.v, whole.past
    for cut in (1, 2, 3, 20, 39):
        chunked, parts = past.clone(), []
        for whole.v, whole.lengths in ((v[:cut], (cut,)), (v[cut:], (40 - cut,))):
            parts.append(whole.native(chunked, slots))
        assert torch.equal(torch.cat(parts), want)
        assert torch.equal(chunked, pool)


def test_values_are_rounded_to_the_states_dtype_first(generator: torch.Generator) -> None:
    """Rounding is to nearest, ties to even; infinities and NaN do not change."""
    special = torch.tensor([1.00390625, 1.01171875, -3.4e38, 3.4e38, float("inf"), float("nan"), 1e-40, -0.0])
    conv = Conv(generator, 8, width=1, dtype=torch.bfloat16, lengths=(1,))
    conv.v, conv.weight, conv.bias = special[None], torch.ones(8, 1), torch.zeros(8)
    pool = torch.zeros(1, 0, 8, dtype=torch.bfloat16)
    got = conv.native(pool, torch.zeros(1, dtype=torch.int32), "none")[0]
    want = special.to(torch.bfloat16).float()
    want[6] = 0.0  # kernels flush denormals
    assert torch.equal(
        got.nan_to_num(7.0, float("inf"), float("-inf")), want.nan_to_num(7.0, float("inf"), float("-inf"))
    )
