"""The CUDA kernels give what the CPU's give, within the bound of promise P1."""

import pytest
import torch
from torch import Tensor

from pararnn_core.ops.recurrence import recurrence, recurrence_
from pararnn_core.ops.scans import linear_scan, newton_recurrence, newton_recurrence_
from pararnn_core.solvers.scan import affine_scan, reverse_affine_scan

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

BOUND = 1e-5
CHANNELS = 77
ROWS = {"gru": 1, "lstm": 2}
LENGTHS = (1, 0, 40, 129, 700)


class Batch:
    """A ragged batch on the CPU, weights in +-`weights`, states in slots of which one is skipped."""

    def __init__(self, cell: str, dtype: torch.dtype, weights: float) -> None:
        self.cell = cell
        self.cu_seqlens = torch.tensor((0, *LENGTHS)).cumsum(0).int()
        self.bx = torch.randn(sum(LENGTHS), 3, CHANNELS).to(dtype)
        self.a = (torch.rand(3, CHANNELS) * 2 - 1) * weights
        self.c = None if cell == "gru" else (torch.rand(2, CHANNELS) * 2 - 1) * weights
        self.initial = torch.rand(len(LENGTHS), ROWS[cell], CHANNELS) * 2 - 1
        self.pool = torch.rand(9, ROWS[cell], CHANNELS) * 2 - 1
        self.slots = torch.tensor((8, 2, -1, 0, 5), dtype=torch.int32)
        self.bias = torch.randn(3, CHANNELS)
        self.held = torch.tensor((True, True, True, False, True))

    def states(self) -> Tensor:
        return recurrence(self.cell, self.bx.float(), self.a, self.c, self.initial, self.cu_seqlens)

    def outputs(self) -> tuple[Tensor, Tensor]:
        """y, and the pool afterwards."""
        pool = self.pool.clone()
        held = (self.cu_seqlens, self.slots, self.held)
        y = recurrence_(self.cell, self.bx, self.a, self.c, *held, pool, self.bias)
        return y, pool

    def on_gpu(self) -> "Batch":
        moved = object.__new__(Batch)
        moved.__dict__ = {
            name: value.cuda() if isinstance(value, Tensor) else value for name, value in vars(self).items()
        }
        return moved


def assert_close(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=BOUND)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param  # type: ignore[no-any-return]  # pytest cannot know


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_sequential_scan_gives_the_states_of_the_cpu(cell: str, dtype: torch.dtype) -> None:
    batch = Batch(cell, dtype, 0.5)
    on_gpu = batch.on_gpu()
    states = recurrence(cell, on_gpu.bx, on_gpu.a, on_gpu.c, on_gpu.initial, on_gpu.cu_seqlens)
    assert_close(states, batch.states())


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_sequential_scan_moves_the_slots_on_as_on_the_cpu(cell: str, dtype: torch.dtype) -> None:
    batch = Batch(cell, dtype, 0.5)
    g = batch.on_gpu()
    y = recurrence_(cell, g.bx, g.a, g.c, g.cu_seqlens, g.slots, g.held, g.pool, g.bias)
    expected_y, expected_pool = batch.outputs()
    assert_close(y, expected_y)
    assert_close(g.pool, expected_pool)


@pytest.fixture(params=[0, 1, 2, 4], ids=lambda warps: f"{warps} warps")
def time_warps(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]  # pytest cannot know


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_newton_gives_the_states_of_the_cpu_and_converges(
    cell: str, dtype: torch.dtype, time_warps: int
) -> None:
    batch = Batch(cell, dtype, 0.5)
    g = batch.on_gpu()
    arguments = (cell, g.bx, g.a, g.c, g.initial, g.cu_seqlens)
    states, report = newton_recurrence(*arguments, time_warps=time_warps)
    assert_close(states, batch.states())
    assert report.residual.max() <= 1e-6
    assert int(report.fallbacks.sum()) == 0
    assert 0 < int(report.iterations.max()) <= 8


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_newton_moves_the_slots_on_as_on_the_cpu(cell: str, dtype: torch.dtype, time_warps: int) -> None:
    batch = Batch(cell, dtype, 0.5)
    g = batch.on_gpu()
    arguments = (cell, g.bx, g.a, g.c, g.cu_seqlens, g.slots, g.held, g.pool, g.bias)
    y, _ = newton_recurrence_(*arguments, time_warps=time_warps)
    expected_y, expected_pool = batch.outputs()
    assert_close(y, expected_y)
    assert_close(g.pool, expected_pool)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("warps", [1, 2, 4])
def test_newton_without_updates_is_the_sequential_scan(cell: str, warps: int) -> None:
    g = Batch(cell, torch.float32, 4.0).on_gpu()
    arguments = (cell, g.bx, g.a, g.c, g.initial, g.cu_seqlens)
    states, report = newton_recurrence(*arguments, max_iterations=0, time_warps=warps)
    assert_close(states, recurrence(cell, g.bx, g.a, g.c, g.initial, g.cu_seqlens).cpu())
    tiles = torch.tensor([-(-length // (128 * warps)) for length in LENGTHS])
    assert report.fallbacks.tolist() == (tiles * CHANNELS).tolist()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_newton_of_stiff_weights_gives_the_states_of_the_cpu(cell: str, time_warps: int) -> None:
    batch = Batch(cell, torch.float32, 2.0)
    g = batch.on_gpu()
    arguments = (cell, g.bx, g.a, g.c, g.initial, g.cu_seqlens)
    states, report = newton_recurrence(*arguments, time_warps=time_warps)
    assert_close(states, batch.states())
    assert report.residual.max() <= 1e-6


def test_a_number_of_time_warps_that_there_is_not_is_refused() -> None:
    g = Batch("gru", torch.float32, 0.5).on_gpu()
    with pytest.raises(RuntimeError, match=r"^time_warps: expected 1, 2, 4 or 0, got 3"):
        newton_recurrence("gru", g.bx, g.a, None, g.initial, g.cu_seqlens, time_warps=3)


@pytest.mark.parametrize(
    ("states", "channels"), [*((n, CHANNELS) for n in (1, 2, 3, 4, 5, 17)), (3, 1), (5, 1), (40, 1), (257, 1)]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_linear_scan_gives_what_torch_gives(states: int, channels: int, reverse: bool) -> None:
    cu_seqlens = torch.tensor((0, *LENGTHS)).cumsum(0)
    starts = torch.zeros(sum(LENGTHS), dtype=torch.bool)
    starts[cu_seqlens[:-1][torch.tensor(LENGTHS) > 0]] = True
    jacobian = (torch.rand(sum(LENGTHS), states, states, channels) * 2 - 1) / states**0.5
    source = torch.randn(sum(LENGTHS), states, channels)
    scan = reverse_affine_scan if reverse else affine_scan
    # One channel as a dense matrix: torch then keeps no N^3 products of two.
    matrices = jacobian.double().squeeze(3) if channels == 1 else jacobian.double()
    expected = scan(matrices, source.double(), starts).float()
    x, _ = linear_scan(jacobian.cuda(), source.cuda(), None, cu_seqlens.int().cuda(), reverse)
    bound = BOUND * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(x.cpu(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("states", "channels"), [(2, 3), (4, 5), (5, 9), (40, 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_linear_scan_in_two_halves_joined_by_entry_and_exit_is_the_whole(
    states: int, channels: int, reverse: bool
) -> None:
    jacobian = (torch.rand(300, states, states, channels, device="cuda") * 2 - 1) / states**0.5
    source = torch.randn(300, states, channels, device="cuda")
    entry = torch.randn(1, states, channels, device="cuda")

    def scan(start: int, stop: int, entry: Tensor) -> tuple[Tensor, Tensor]:
        bounds = torch.tensor([0, stop - start], dtype=torch.int32, device="cuda")
        return linear_scan(jacobian[start:stop], source[start:stop], entry, bounds, reverse)

    whole, leaving = scan(0, 300, entry)
    halves = [(130, 300), (0, 130)] if reverse else [(0, 130), (130, 300)]
    for start, stop in halves:
        x, entry = scan(start, stop, entry)
        torch.testing.assert_close(x, whole[start:stop], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(entry, leaving, rtol=1e-5, atol=1e-4)


def test_sequential_scan_runs_on_the_callers_stream_and_in_a_graph() -> None:
    batch = Batch("gru", torch.float32, 0.5)
    g = batch.on_gpu()
    recurrence("gru", g.bx, g.a, None, g.initial, g.cu_seqlens)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        states = recurrence("gru", g.bx, g.a, None, g.initial, g.cu_seqlens)
    states.fill_(torch.nan)
    graph.replay()
    assert_close(states, batch.states())
