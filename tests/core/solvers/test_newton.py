"""Newton on recurrences of its own: when it stops, what it counts, what it refuses to call converged."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jvp
from torch.utils._python_dispatch import TorchDispatchMode

from pararnn_core.solvers.newton import NewtonOptions, NewtonResult, newton_solve
from pararnn_core.solvers.sequential import sequential_solve

# Torch scripts its own forward-mode rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

Step = Callable[[Tensor, Tensor], Tensor]
STIFFNESS = 6.0


def tame(h: Tensor, bx: Tensor) -> Tensor:
    return torch.tanh(0.5 * h + bx)


def chaotic(h: Tensor, bx: Tensor) -> Tensor:
    return torch.sin(STIFFNESS * h + bx)


def linear(h: Tensor, bx: Tensor) -> Tensor:
    return 0.999 * h + bx


def one_bad_channel(h: Tensor, bx: Tensor) -> Tensor:
    """Channel 0 is chaotic, the others are tame."""
    return torch.cat((chaotic(h[..., :1], bx[..., :1]), tame(h[..., 1:], bx[..., 1:])), dim=-1)


def diagonal(step: Step) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def linearize(h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        value, tangent = jvp(lambda state: step(state, bx), (h,), (torch.ones_like(h),))
        return value, tangent.unsqueeze(2)

    return linearize


def draw(
    lengths: list[int], dtype: torch.dtype = torch.float64, channels: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """bx (T, 1, D), initial_state (S, 1, D), cu_seqlens."""
    print(f"seed {torch.seed()}, lengths {lengths}")
    bx = torch.randn(sum(lengths), 1, channels, dtype=dtype)
    return (
        bx,
        torch.randn(len(lengths), 1, channels, dtype=dtype),
        torch.tensor([0, *lengths]).cumsum(0).int(),
    )


def solve(
    step: Step, batch: tuple[Tensor, Tensor, Tensor], span: int = 256, **options: int | float | bool
) -> tuple[Tensor, NewtonResult]:
    return newton_solve(step, diagonal(step), *batch, span, NewtonOptions(**options))  # type: ignore[arg-type]  # a mapping of mixed types


@pytest.mark.parametrize("step", [tame, linear, chaotic, one_bad_channel])
@pytest.mark.parametrize("span", [1, 7, 64, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_default_equals_step_by_step(step: Step, span: int, dtype: torch.dtype) -> None:
    batch = draw([33, 0, 1, 70], dtype)
    states, result = solve(step, batch, span)
    exact = sequential_solve(step, *batch)
    assert result.converged
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    if step in (tame, linear):
        torch.testing.assert_close(states, exact, rtol=tolerance, atol=tolerance)
    assert result.residual <= (1e-13 if dtype == torch.float64 else 1e-6)


def test_first_states_are_exact_after_as_many_updates() -> None:
    batch = draw([40])
    exact = sequential_solve(chaotic, *batch)
    for updates in range(1, 8):
        states, result = solve(chaotic, batch, max_iterations=updates, fallback=False)
        assert result.iterations == updates
        # Each step of this recurrence can enlarge a rounding error sixfold.
        torch.testing.assert_close(states[: updates + 1], exact[: updates + 1], rtol=1e-9, atol=1e-9)
        assert (states - exact).abs().max() > 1e-3
        assert not result.converged


def test_short_sequence_always_converges() -> None:
    # After k updates k+1 states are exact, and one more update shows it.
    _, result = solve(chaotic, draw([7, 3, 7]), fallback=False)
    assert result.converged


def test_small_residual_alone_is_not_convergence() -> None:
    batch = draw([500])
    states, result = solve(linear, batch, span=500, max_iterations=1, fallback=False)
    assert result.residual <= 1e-13
    assert not result.converged
    again, result = solve(linear, batch, span=500, max_iterations=2, fallback=False)
    assert result.converged
    torch.testing.assert_close(states, again, rtol=1e-12, atol=1e-12)


def test_small_update_alone_is_not_convergence() -> None:
    def parabola(h: Tensor, bx: Tensor) -> Tensor:
        return 100 * h * h + bx

    # The first update is (0, 0.09, 0); it leaves the third state 0.81 away from the step out of the second.
    bx = torch.tensor([0.03, 0.0, 0.0], dtype=torch.float64)[:, None, None]
    batch = bx, torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([0, 3], dtype=torch.int32)
    _, result = solve(parabola, batch, max_iterations=1, tol=0.1, fallback=False)
    assert result.residual > 0.7
    assert not result.converged


def test_wrong_jacobian_is_not_convergence() -> None:
    def blind(h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        return chaotic(h, bx), torch.zeros(h.shape[0], 1, *h.shape[1:], dtype=h.dtype)

    _, result = newton_solve(chaotic, blind, *draw([60]), 256, NewtonOptions(fallback=False))
    assert not result.converged


def test_no_update_is_not_convergence() -> None:
    batch = draw([3, 20])
    _, result = solve(tame, batch, max_iterations=0, fallback=False)
    assert not result.converged
    states, result = solve(tame, batch, max_iterations=0)
    assert result == NewtonResult(0, result.residual, converged=True, fallbacks=6, units=6)
    torch.testing.assert_close(states, sequential_solve(tame, *batch), rtol=1e-15, atol=1e-15)


def test_fallback_solves_and_counts_only_units_that_failed() -> None:
    batch = draw([100, 4, 90], channels=5)
    capped, _ = solve(one_bad_channel, batch, fallback=False)
    states, result = solve(one_bad_channel, batch)
    exact = sequential_solve(one_bad_channel, *batch)
    # Channel 0 of the two long sequences; the short one is exact after its few updates.
    assert result.fallbacks == 2
    assert result.iterations == 8
    assert torch.equal(states[:100, :, 0], exact[:100, :, 0])
    assert torch.equal(states[104:, :, 0], exact[104:, :, 0])
    assert torch.equal(states[..., 1:], capped[..., 1:])
    assert torch.equal(states[100:104], capped[100:104])


def test_units_are_counted_per_tile() -> None:
    _, result = solve(one_bad_channel, draw([100, 4, 75], channels=5), span=25)
    assert result.fallbacks == 4 + 3


def test_units_are_whole_sequences_where_channels_mix() -> None:
    def dense(h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = diagonal(one_bad_channel)(h, bx)
        return value, torch.diag_embed(jacobian[:, 0, 0])

    batch = draw([100, 4, 90], channels=5)
    states, result = newton_solve(one_bad_channel, dense, *batch)
    assert result.fallbacks == 2
    exact = sequential_solve(one_bad_channel, *batch)
    assert torch.equal(states[:100], exact[:100])
    assert torch.equal(states[104:], exact[104:])


# tanh of infinity is finite, sin of it is not.
@pytest.mark.parametrize(
    ("step", "bad"), [(tame, torch.nan), (chaotic, torch.nan), (chaotic, torch.inf), (chaotic, -torch.inf)]
)
@pytest.mark.parametrize("fallback", [True, False])
@settings(max_examples=15)
@given(where=st.integers(0, 39), channel=st.integers(0, 2), in_state=st.booleans())
def test_nan_is_never_converged(
    step: Step, bad: float, fallback: bool, where: int, channel: int, in_state: bool
) -> None:
    bx, initial_state, cu_seqlens = draw([25, 15])
    (initial_state[where // 25] if in_state else bx[where])[0, channel] = bad
    _, result = solve(step, (bx, initial_state, cu_seqlens), span=10, fallback=fallback)
    assert not result.converged
    assert result.residual != result.residual


def test_nan_leaves_neighbours_alone() -> None:
    bx, initial_state, cu_seqlens = draw([30, 31, 32])
    clean, _ = solve(tame, (bx, initial_state, cu_seqlens))
    bx[45, 0, 1] = torch.nan
    states, result = solve(tame, (bx, initial_state, cu_seqlens))
    assert result.fallbacks == 1
    assert states[45:61, 0, 1].isnan().all()
    states[45:61, 0, 1] = clean[45:61, 0, 1]
    torch.testing.assert_close(states, clean, rtol=1e-12, atol=1e-12)


def test_result_reports_the_residual_of_its_states() -> None:
    batch = draw([50])
    states, result = solve(chaotic, batch, max_iterations=2, fallback=False)
    previous = torch.cat((batch[1], states[:-1]))
    residual = ((chaotic(previous, batch[0]) - states).abs() / (1 + states.abs())).max().item()
    assert residual > 1e-3
    assert result.residual == pytest.approx(residual, rel=1e-12)


def test_looser_tolerance_takes_fewer_updates() -> None:
    batch = draw([200])
    assert solve(tame, batch, tol=1e-3)[1].iterations < solve(tame, batch)[1].iterations


def test_rows_given_to_a_step_are_bounded_by_the_tile() -> None:
    rows: list[int] = []

    def watched(h: Tensor, bx: Tensor) -> Tensor:
        rows.append(h.shape[0])
        return one_bad_channel(h, bx)

    solve(watched, draw([1000, 300]), span=50)
    assert max(rows) == 2 * 50


class LargeBuffers(TorchDispatchMode):
    """Collects the addresses of floating-point buffers above a size, as operations return them."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.found = limit, set[int]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 (torch's own signature)
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                storage = tensor.untyped_storage()
                if storage.nbytes() > self.limit:
                    self.found.add(storage.data_ptr())
        return result


def test_no_buffer_but_the_result_grows_with_length() -> None:
    batch, span = draw([4000]), 50
    tile_bytes = span * batch[0][0].nbytes
    with LargeBuffers(limit=4 * tile_bytes) as buffers:
        states, result = solve(tame, batch, span)
    assert result.converged
    assert buffers.found == {states.untyped_storage().data_ptr()}


def test_nothing_to_solve_is_converged() -> None:
    states, result = solve(tame, draw([0, 0]))
    assert states.shape == (0, 1, 3)
    assert result == NewtonResult(iterations=0, residual=0.0, converged=True, fallbacks=0, units=0)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"max_iterations": -1}, "max_iterations"), ({"tol": 0.0}, "tol"), ({"tol": torch.nan}, "tol")],
)
def test_bad_option_is_named(options: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        NewtonOptions(**options)  # type: ignore[arg-type]  # a mapping of mixed types


def test_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^bx: .*bfloat16"):
        solve(tame, draw([5], torch.bfloat16))
