"""Cells: every mode equals the plain loop, forward and backward, for any packing."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pararnn_core import ops
from pararnn_core.cells import CELLS, Cell, ParaGRU, ParaLSTM
from pararnn_core.solvers.newton import NewtonOptions
from tests.core.cells.user_cells import (
    ALL_CELLS,
    USER_CELLS,
    Elman,
    MiscalledDiagonal,
    Mixing,
    Oscillator,
    gradients,
    make_problem,
    plain_loop,
)

# Torch scripts its own forward-mode rules when they are first used.
# Some of these problems are too stiff for Newton, on purpose or by chance.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Newton converged nowhere:RuntimeWarning"),
]

NATIVE_CELLS = [*CELLS.values()]
MODES = ["sequential", "parallel"]
RAGGED = [5, 1, 0, 90, 33]
lengths_strategy = st.lists(st.integers(0, 40), min_size=1, max_size=5)
seed_strategy = st.integers(0, 2**32)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def random_cell(cls: type[Cell], input_dim: int = 6, state_dim: int = 4, heads: int = 2) -> Cell:
    print(f"seed {torch.seed()}")
    return cls(input_dim, state_dim, heads).double()


def test_the_native_library_has_the_cells_that_serve_with_the_same_sizes() -> None:
    sizes = {
        name: (cls.num_gates, cls.num_states, cls.num_peepholes, cls.recurrent_rows())
        for name, cls in CELLS.items()
    }
    assert list(sizes.items()) == list(ops.native_cells().items())
    assert [cls.native_name for cls in CELLS.values()] == list(CELLS)


@pytest.mark.parametrize("tile_span", [4, 64])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_every_mode_equals_the_loop_forward_and_backward(
    cls: type[Cell], mode: str, tile_span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "tile_span", tile_span)
    problem = make_problem(cls, RAGGED, torch.seed())
    expected = plain_loop(problem)
    states = problem.cell.recurrence(*problem[1:], mode)
    assert_close(states, expected)
    weights = torch.randn_like(states)
    for actual, exact in zip(
        gradients(problem, states, weights), gradients(problem, expected, weights), strict=True
    ):
        assert_close(actual, exact, 1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_gradients_are_those_of_finite_differences(cls: type[Cell], mode: str) -> None:
    cell = random_cell(cls, input_dim=4, state_dim=2)
    cu_seqlens = torch.tensor([0, 2, 2, 3, 6], dtype=torch.int32)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    initial_state = torch.randn(4, cell.num_states, 2, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, initial_state: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        y, final_state = cell(x, initial_state, cu_seqlens, mode)
        return y, final_state

    assert torch.autograd.gradcheck(run, (x, initial_state, *cell.parameters()))


@pytest.mark.parametrize("cls", [*NATIVE_CELLS, Elman, Oscillator])
def test_jacobian_is_that_of_reverse_mode(cls: type[Cell]) -> None:
    problem = make_problem(cls, [50], torch.seed())
    bx, (rows, states, channels) = problem.bx.detach(), (50, problem.cell.num_states, 6)
    h = torch.randn(rows, states, channels, dtype=torch.float64, requires_grad=True)
    value, jacobian = problem.cell.linearize(h, bx)
    assert_close(value, problem.cell.advance(h, bx))
    for out in range(states):
        (row,) = torch.autograd.grad(problem.cell.advance(h, bx)[:, out].sum(), h)
        assert_close(jacobian[:, out], row)


@pytest.mark.parametrize("cls", NATIVE_CELLS)
def test_closed_form_jacobian_is_that_of_dual_numbers(cls: type[Cell]) -> None:
    problem = make_problem(cls, [50], torch.seed())
    h = torch.randn(50, problem.cell.num_states, 6, dtype=torch.float64)
    closed = problem.cell.linearize(h, problem.bx)
    dual = Cell.linearize(problem.cell, h, problem.bx)
    assert_close(closed[0], dual[0])
    assert_close(closed[1], dual[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
@settings(max_examples=5)
@given(lengths=lengths_strategy, seed=seed_strategy)
def test_packed_equals_separate(cls: type[Cell], mode: str, lengths: list[int], seed: int) -> None:
    cell, bx, initial_state, cu_seqlens = make_problem(cls, lengths, seed)
    x = torch.randn(len(bx), cell.input_dim, dtype=torch.float64)
    y, final_state = cell(x, initial_state, cu_seqlens, mode)
    for s, (start, stop) in enumerate(itertools.pairwise(cu_seqlens.tolist())):
        alone_y, alone_state = cell(x[start:stop], initial_state[s : s + 1], mode=mode)
        assert_close(y[start:stop], alone_y)
        assert_close(final_state[s : s + 1], alone_state)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
@settings(max_examples=5)
@given(parts=lengths_strategy, seed=seed_strategy)
def test_any_split_with_carried_state_equals_the_whole(
    cls: type[Cell], mode: str, parts: list[int], seed: int
) -> None:
    cell, bx, initial_state, _ = make_problem(cls, parts, seed)
    x = torch.randn(2, len(bx), cell.input_dim, dtype=torch.float64)
    state = torch.randn(2, *initial_state.shape[1:], dtype=torch.float64)
    y, final_state = cell(x, state, mode=mode)
    pieces = []
    for part in x.split(parts, dim=1):
        piece, state = cell(part, state, mode=mode)
        pieces.append(piece)
    assert_close(torch.cat(pieces, dim=1), y)
    assert_close(state, final_state)


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_final_state_of_an_empty_sequence_is_its_initial_state(cls: type[Cell], mode: str) -> None:
    cell = cls(4, 4)
    initial_state = torch.randn(3, cell.num_states, 4, requires_grad=True)
    y, final_state = cell(torch.randn(3, 0, 4), initial_state, mode=mode)
    assert y.shape == (3, 0, 4)
    assert torch.equal(final_state, initial_state)
    (gradient,) = torch.autograd.grad(final_state.sum(), initial_state)
    assert torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM, Mixing])
def test_gradient_of_the_final_state_reaches_every_state_of_it(cls: type[Cell], mode: str) -> None:
    problem = make_problem(cls, [7, 300], torch.seed())
    x = torch.randn(307, 6, dtype=torch.float64, requires_grad=True)
    inputs = [x, problem.initial_state, *problem.cell.parameters()]
    _, final_state = problem.cell(x, problem.initial_state, problem.cu_seqlens, mode)
    weights = torch.randn_like(final_state)
    actual = torch.autograd.grad(final_state, inputs, weights)
    loop = plain_loop(problem._replace(bx=problem.cell.input_projection(x)))
    expected = torch.autograd.grad(loop[[6, 306]], inputs, weights)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, 1e-10)


@pytest.mark.parametrize("cls", NATIVE_CELLS)
def test_auto_in_float32_is_as_exact_as_the_loop(cls: type[Cell]) -> None:
    problem = make_problem(cls, RAGGED, torch.seed(), torch.float32)
    exact_cell = copy.deepcopy(problem.cell).double()
    exact = problem._replace(
        cell=exact_cell,
        bx=problem.bx.detach().double().requires_grad_(),
        initial_state=problem.initial_state.detach().double().requires_grad_(),
    )
    expected = plain_loop(exact)
    allowed = max(1e-5, 4 * (plain_loop(problem).double() - expected).abs().max().item())
    weights = torch.randn_like(expected)
    exact_gradients = gradients(exact, expected, weights)
    for mode in ["auto", *MODES]:
        states = problem.cell.recurrence(*problem[1:], mode)
        assert_close(states.double(), expected, allowed)
        actual = gradients(problem, states, weights.float())
        for a, e in zip(actual, exact_gradients, strict=True):
            assert (a.double() - e).abs().max() <= 1e-4 * (1 + e.abs().max())


def test_auto_uses_the_native_kernel_only_for_the_step_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Known(ParaGRU):
        pass

    class Other(ParaGRU):
        def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
            return torch.relu(self.A[0] * h + bx[..., 0, :])

    calls = []
    monkeypatch.setattr(ops, "is_available", lambda: True)
    monkeypatch.setattr(ops, "recurrence", lambda cell, bx, *_: calls.append(cell) or bx[:, :1])
    x = torch.randn(1, 3, 4)
    Known(4, 4)(x)
    assert calls == ["gru"]
    ParaLSTM(4, 4).double()(x.double())
    Other(4, 4)(x)
    assert calls == ["gru"]
    other = Other(4, 4)
    sequential, parallel = other(x, mode="sequential")[0], other(x, mode="parallel")[0]
    assert_close(parallel, sequential, 1e-6)


def test_structure_that_is_not_the_steps_is_refused_in_backward() -> None:
    cell = MiscalledDiagonal(4, 4)
    for mode in MODES:
        y, _ = cell(torch.randn(1, 12, 4), mode=mode)
        with pytest.raises(RuntimeError, match=r"MiscalledDiagonal.*not 'diagonal'"):
            y.sum().backward()


@pytest.mark.parametrize("cls", ALL_CELLS)
def test_last_solve_tells_how_the_latest_call_went(cls: type[Cell]) -> None:
    cell, x = cls(4, 4), torch.randn(2, 30, 4)
    assert cell.last_solve is None
    cell(x, mode="parallel")
    assert cell.last_solve is not None
    assert cell.last_solve.converged
    assert 0 < cell.last_solve.iterations <= 8
    cell(x, mode="sequential")
    assert cell.last_solve is None


def test_saturated_gates_are_not_mistaken_for_another_structure() -> None:
    """The derivative by the old state is so small that rounding is a large part of it."""
    cell = ParaGRU(2, 2)
    with torch.no_grad():
        cell.A.copy_(torch.tensor([[5.587e-4, -1.115e-3], [-2.713e-3, -3.213e-4], [-2.459e-3, -3.471e-3]]))
    bx = torch.tensor([[[13.560696, 12.905856], [8.706168, 2.8604018], [4.4573293, -4.2788715]]])
    initial_state = torch.tensor([[[0.8003763, -0.8487715]]], requires_grad=True)
    states = cell.recurrence(bx, initial_state, torch.tensor([0, 1], dtype=torch.int32), "sequential")
    (grad,) = torch.autograd.grad(states.sum(), initial_state)
    assert grad.abs().max() < 1e-6


@pytest.mark.parametrize("cls", ALL_CELLS)
def test_solve_that_did_not_converge_refuses_backward(cls: type[Cell]) -> None:
    problem = make_problem(cls, [50], torch.seed())
    problem.cell.newton = NewtonOptions(max_iterations=1, fallback=False)
    states = problem.cell.recurrence(*problem[1:], "parallel")
    assert problem.cell.last_solve is not None
    assert not problem.cell.last_solve.converged
    with pytest.raises(RuntimeError, match="did not converge"):
        states.sum().backward()


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_nan_input_is_never_converged_and_stays_in_its_sequence(cls: type[Cell], fallback: bool) -> None:
    cell, bx, initial_state, cu_seqlens = make_problem(cls, [20, 21, 22], torch.seed())
    cell.newton = NewtonOptions(fallback=fallback)
    clean = cell.recurrence(bx, initial_state, cu_seqlens, "parallel")
    bx = bx.detach().clone()
    bx[30, :, 1] = torch.nan
    states = cell.recurrence(bx, initial_state, cu_seqlens, "parallel")
    assert cell.last_solve is not None
    assert not cell.last_solve.converged
    assert states[30:41, :, 1].isnan().all()
    others = [*range(20), *range(41, 63)]
    assert_close(states[others], clean[others])


@pytest.mark.parametrize("cls", ALL_CELLS)
def test_backward_uses_the_parameters_of_forward(cls: type[Cell]) -> None:
    problem = make_problem(cls, [20], torch.seed())
    swapped = {name: torch.randn_like(p, requires_grad=True) for name, p in problem.cell.named_parameters()}
    x = torch.randn(20, 6, dtype=torch.float64)
    y, _ = torch.func.functional_call(problem.cell, swapped, (x,), {"mode": "parallel"})
    actual = torch.autograd.grad(y.sum(), list(swapped.values()))
    problem.cell.load_state_dict(swapped)
    y, _ = problem.cell(x, mode="parallel")
    expected = torch.autograd.grad(y.sum(), list(problem.cell.parameters()))
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("cls", NATIVE_CELLS)
def test_narrow_weights_are_widened(cls: type[Cell], mode: str) -> None:
    cell, x = cls(4, 4).bfloat16(), torch.randn(2, 9, 4)
    wide = copy.deepcopy(cell).float()
    y, final_state = cell(x, mode=mode)
    assert y.dtype == final_state.dtype == torch.float32
    assert torch.equal(y, wide(x, mode=mode)[0])
    y.sum().backward()
    assert {str(p.dtype) for p in cell.parameters()} == {"torch.bfloat16"}
    for parameter in cell.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_recurrence_stays_wide_under_autocast(mode: str) -> None:
    cell, x = Mixing(4, 4), torch.randn(2, 9, 4)
    bx = cell.input_projection(x).flatten(0, 1)
    arguments = (bx, torch.zeros(2, 1, 4), torch.tensor([0, 9, 18], dtype=torch.int32), mode)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = cell.recurrence(*arguments)
        assert cell(x.bfloat16(), mode=mode)[0].dtype == torch.float32
    assert torch.equal(narrow, cell.recurrence(*arguments))


@pytest.mark.parametrize("cls", ALL_CELLS)
def test_fresh_parameters_are_those_of_the_paper(cls: type[Cell]) -> None:
    print(f"seed {torch.seed()}")
    cell = cls(64, 128, 4)
    bound = (6 * 4 / 64) ** 0.5
    assert cell.B.shape == (4, 16, cell.num_gates, 32)
    assert 0.9 * bound < cell.B.abs().max() <= bound
    assert not cell.b.any()
    for weight in cell.recurrent_parameters():
        expected = (2 / sum(weight.shape[-2:])) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.25)
        assert weight.abs().max() <= 0.5


def test_clipping_touches_recurrent_weights_only() -> None:
    cell = ParaLSTM(8, 8)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.fill_(-3.0)
    cell.clip_recurrent_(0.7)
    assert torch.equal(cell.A, torch.full_like(cell.A, -0.7))
    assert torch.equal(cell.C, torch.full_like(cell.C, -0.7))
    assert torch.equal(cell.B, torch.full_like(cell.B, -3.0))
    assert torch.equal(cell.b, torch.full_like(cell.b, -3.0))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_do_not_see_each_other(heads: int) -> None:
    cell = random_cell(ParaGRU, 8, 4, heads)
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    size, channels = 8 // heads, 4 // heads
    for head in range(heads):
        own = cell.input_projection(x)[..., head * channels : (head + 1) * channels]
        (gradient,) = torch.autograd.grad(own.sum(), x)
        inside = gradient[:, head * size : (head + 1) * size]
        assert inside.count_nonzero() == inside.numel()
        assert gradient.count_nonzero() == inside.numel()


def test_layouts_of_the_same_input_agree() -> None:
    cell, x = random_cell(ParaGRU), torch.randn(2, 5, 6, dtype=torch.float64)
    state = torch.randn(2, 1, 4, dtype=torch.float64)
    y, final_state = cell(x, state)
    assert_close(cell(x, state.squeeze(1))[1], final_state)
    packed, packed_state = cell(x.flatten(0, 1), state, torch.tensor([0, 5, 10], dtype=torch.int32))
    assert_close(packed.view_as(y), y)
    assert_close(packed_state, final_state)
    assert_close(cell(x[1], state[1:])[0], y[1])
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert_close(cell(strided, state)[0], y)


X = torch.zeros(2, 5, 6)
PACKED = torch.zeros(10, 6)
BOUNDS = torch.tensor([0, 4, 10], dtype=torch.int32)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x", {"x": torch.zeros(6)}),
        ("x", {"x": torch.zeros(1, 2, 5, 6)}),
        ("x", {"x": torch.zeros(2, 5, 7)}),
        ("x", {"x": X.double()}),
        ("x", {"x": X.long()}),
        ("cu_seqlens", {"x": X, "cu_seqlens": BOUNDS}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS.long()}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS.float()}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS[1:]}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS[:2]}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS[[0, 2, 1, 2]]}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS[:0]}),
        ("cu_seqlens", {"x": PACKED, "cu_seqlens": BOUNDS.to("meta")}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(3, 2, 4)}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(2, 4)}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(2, 1, 4)}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(2, 2, 4).double()}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(2, 2, 4).bfloat16()}),
        ("initial_state", {"x": X, "initial_state": torch.zeros(2, 2, 4, device="meta")}),
        ("mode", {"x": X, "mode": "fast"}),
        ("mode", {"x": X, "mode": "parallel_cuda"}),
        ("mode", {"x": X, "mode": "parallel_fused"}),
    ],
)
def test_refused_argument_is_named(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        ParaLSTM(6, 4, 2)(**arguments)


@pytest.mark.parametrize("shape", [(5, 3, 5), (5, 2, 4), (5, 12), (5, 1, 3, 4)])
def test_refused_bx_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^bx: "):
        ParaGRU(6, 4).recurrence(
            torch.zeros(shape), torch.zeros(1, 1, 4), torch.tensor([0, 5], dtype=torch.int32)
        )


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("num_heads", (6, 4, 3)),
        ("num_heads", (6, 4, 4)),
        ("num_heads", (6, 4, 0)),
        ("input_dim", (0, 4, 1)),
        ("state_dim", (6, -4, 1)),
    ],
)
def test_refused_size_is_named(name: str, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        ParaGRU(*sizes)


def test_refused_structure_is_named() -> None:
    with pytest.raises(ValueError, match=r"\.jacobian_structure: "):
        type("Unknown", (Cell,), {"jacobian_structure": "sparse"})
    with pytest.raises(ValueError, match=r"\.jacobian_structure: "):
        type("TwoStates", (Cell,), {"num_states": 2})


def test_cell_without_a_step_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="recurrence_step"):
        Cell(4, 4)(torch.randn(1, 2, 4))


def test_user_cells_write_only_the_step() -> None:
    allowed = {"recurrence_step", "num_gates", "num_states", "jacobian_structure"}
    for cls in USER_CELLS:
        own = {name for name in vars(cls) if not name.startswith("__")}
        assert own - {"native_name", "linearize"} <= allowed
