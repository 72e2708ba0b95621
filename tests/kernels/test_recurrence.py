"""The native recurrence against the float64 text of the cells."""

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.ops.cells import cell_number
from tests.kernels import reference
from tests.kernels.reference import CHANNELS, LENGTHS, STATES, normal, relative_error

CELLS = tuple(ops.native_cells())


class Inputs:
    def __init__(
        self, generator: torch.Generator, cell: str, channels: int, lengths: tuple[int, ...] = LENGTHS
    ) -> None:
        self.cell, self.lengths = cell, lengths
        gates, states, peepholes, recurrent = ops.native_cells()[cell]
        self.bx = normal(generator, sum(lengths), gates, channels, scale=2.0)
        self.a = normal(generator, recurrent, channels, scale=0.5)
        self.c = normal(generator, peepholes, channels, scale=0.5) if peepholes else None
        self.initial = normal(generator, len(lengths), states, channels)
        self.cu_seqlens = reference.cu_seqlens(lengths)

    def tensors(self) -> list[Tensor]:
        return [x for x in (self.bx, self.a, self.c, self.initial) if x is not None]

    def native(self) -> Tensor:
        return ops.recurrence(self.cell, self.bx, self.a, self.c, self.initial, self.cu_seqlens)

    def expected(self) -> Tensor:
        return reference.recurrence(self.cell, self.bx, self.a, self.c, self.initial, self.lengths)

    def final(self, states: Tensor) -> Tensor:
        """(S, N, D): the last state of every sequence, the initial one where it is empty."""
        ends = self.cu_seqlens.tolist()
        return torch.stack(
            [states[ends[s + 1] - 1] if n else self.initial[s] for s, n in enumerate(self.lengths)]
        )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_states_match_float64(generator: torch.Generator, cell: str, channels: int) -> None:
    inputs = Inputs(generator, cell, channels)
    assert relative_error(inputs.native(), inputs.expected()) < 3e-6


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_gradients_match_autograd_in_float64(generator: torch.Generator, cell: str, channels: int) -> None:
    inputs = Inputs(generator, cell, channels)
    # A cell without recurrent weights has an empty tensor of them.
    leaves = [x.requires_grad_() for x in inputs.tensors() if x.numel()]
    states = inputs.native()
    weights = normal(generator, *states.shape)
    got = torch.autograd.grad(states, leaves, weights)
    want = torch.autograd.grad(inputs.expected(), leaves, weights.double())
    for native, expected in zip(got, want, strict=True):
        assert relative_error(native, expected.double()) < 2e-5


@pytest.mark.parametrize("cell", CELLS)
def test_stiff_weights_match_float64(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 33, (40, 1, 80))
    inputs.bx *= 20
    inputs.a *= 8
    assert relative_error(inputs.native(), inputs.expected()) < 3e-5


@pytest.mark.parametrize("cell", CELLS)
def test_registered_operator_obeys_torch(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 5, (3, 0, 2))
    for tensor in inputs.tensors():
        tensor.requires_grad_()
    inputs.native()  # loads the library
    args = (cell_number(cell), inputs.bx, inputs.a, inputs.c, inputs.initial, inputs.cu_seqlens)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.pararnn.recurrence.default, args, test_utils=checks)


def test_gradients_reach_only_what_asks_for_them(generator: torch.Generator) -> None:
    inputs = Inputs(generator, "gru", 7, (4,))
    inputs.a.requires_grad_()
    inputs.native().sum().backward()
    assert inputs.a.grad is not None
    assert inputs.bx.grad is None


def test_a_second_derivative_is_refused(generator: torch.Generator) -> None:
    inputs = Inputs(generator, "gru", 7, (4,))
    inputs.bx.requires_grad_()
    (grad,) = torch.autograd.grad(inputs.native().square().sum(), inputs.bx, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_slots_give_the_same_states_in_place(generator: torch.Generator, cell: str, channels: int) -> None:
    inputs = Inputs(generator, cell, channels)
    states = inputs.native()
    pool, slots = pool_for(inputs)
    untouched = [i for i in range(pool.shape[0]) if i not in slots.tolist()]
    fresh = torch.ones(len(LENGTHS), dtype=torch.bool)
    y = ops.recurrence_(cell, inputs.bx, inputs.a, inputs.c, inputs.cu_seqlens, slots, fresh, pool)
    assert torch.equal(y, states[:, -1])
    assert torch.equal(pool[slots.long()], inputs.final(states))
    assert pool[untouched].isnan().all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bias_is_added_in_float32(generator: torch.Generator, cell: str, dtype: torch.dtype) -> None:
    inputs = Inputs(generator, cell, 37)
    narrow, bias = inputs.bx.to(dtype), torch.randn(inputs.bx.shape[1], 37, generator=generator)
    inputs.bx = narrow.float() + bias
    pool, slots = pool_for(inputs)
    held = torch.ones(len(LENGTHS), dtype=torch.bool)
    y = ops.recurrence_(cell, narrow, inputs.a, inputs.c, inputs.cu_seqlens, slots, held, pool, bias)
    assert torch.equal(y, inputs.native()[:, -1])


def pool_for(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """A pool (slots, N, D) with strides, NaN where no sequence is, and the slots (S,)."""
    count, rows, channels = inputs.initial.shape
    whole = torch.full((2 * count + 3, 2, rows + 1, channels + 5), float("nan"))
    pool = whole[:, 1, :rows, 2 : channels + 2]
    slots = torch.arange(count, dtype=torch.int32).flip(0) * 2 + 1
    pool[slots.long()] = inputs.initial
    return pool, slots


@pytest.mark.parametrize("cell", CELLS)
def test_no_initial_state_ignores_what_the_slot_holds(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 37)
    inputs.initial.zero_()
    states = inputs.native()
    pool = torch.full((len(LENGTHS), STATES[cell], 37), float("nan"))
    slots = torch.arange(len(LENGTHS), dtype=torch.int32)
    none = torch.zeros(len(LENGTHS), dtype=torch.bool)
    y = ops.recurrence_(cell, inputs.bx, inputs.a, inputs.c, inputs.cu_seqlens, slots, none, pool)
    assert torch.equal(y, states[:, -1])
    assert torch.equal(pool, inputs.final(states))


@pytest.mark.parametrize("cell", CELLS)
def test_padding_slot_is_skipped_and_gives_zeros(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 70, (3, 4, 5))
    inputs.bx[3:7] = float("nan")
    pool = inputs.initial.clone()
    slots = torch.tensor([2, -1, 0], dtype=torch.int32)
    held = torch.ones(3, dtype=torch.bool)
    y = ops.recurrence_(cell, inputs.bx, inputs.a, inputs.c, inputs.cu_seqlens, slots, held, pool)
    assert torch.equal(y[3:7], torch.zeros(4, 70))
    assert torch.equal(pool[1], inputs.initial[1])
    assert not y.isnan().any()


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_and_neighbours_do_not_change_bits(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 91, (50,))
    whole = inputs.native()
    for cut in (1, 2, 17, 49):
        first = ops.recurrence(
            cell, inputs.bx[:cut], inputs.a, inputs.c, inputs.initial, reference.cu_seqlens((cut,))
        )
        neighbour = normal(generator, 13, inputs.bx.shape[1], 91)
        rest = ops.recurrence(
            cell,
            torch.cat([neighbour, inputs.bx[cut:]]),
            inputs.a,
            inputs.c,
            torch.cat([normal(generator, 1, STATES[cell], 91), first[-1:]]),
            reference.cu_seqlens((13, 50 - cut)),
        )
        assert torch.equal(torch.cat([first, rest[13:]]), whole)


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_to_do_gives_nothing(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 8, (0, 0))
    assert inputs.native().shape == (0, STATES[cell], 8)
    leaves = [x.requires_grad_() for x in inputs.tensors()]
    grads = torch.autograd.grad(inputs.native().sum(), leaves)
    assert all(torch.equal(grad, torch.zeros_like(leaf)) for grad, leaf in zip(grads, leaves, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_channel_and_sequence(generator: torch.Generator, cell: str) -> None:
    inputs = Inputs(generator, cell, 19, (6, 6))
    clean = inputs.native()
    inputs.bx[2, 0, 7] = float("nan")
    dirty = inputs.native()
    assert dirty[2:6, -1, 7].isnan().all()
    dirty[2:6, :, 7] = clean[2:6, :, 7]
    assert torch.equal(dirty, clean)
