"""Second derivatives, forward mode and torch.func: right in every mode, or a clear error."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from pararnn_core import ops
from pararnn_core.cells import Cell, ParaGRU, ParaLSTM
from tests.core.cells.user_cells import ALL_CELLS, Problem, plain_loop

# Torch scripts its own forward-mode rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

MODES = ["sequential", "parallel"]
BOUNDS = torch.tensor([0, 2, 2, 5], dtype=torch.int32)
TOKENS, CHANNELS = 5, 2

Task = Callable[[Tensor], Tensor]


class Setting:
    """A small cell, solved in one of its modes or by the loop that autograd alone differentiates."""

    def __init__(self, cls: type[Cell], mode: str, dtype: torch.dtype = torch.float64) -> None:
        print(f"seed {torch.seed()}")
        self.cell, self.mode = cls(CHANNELS, CHANNELS).to(dtype), mode
        self.x = torch.randn(TOKENS, CHANNELS, dtype=dtype)
        self.start = torch.randn(3, self.cell.num_states, CHANNELS, dtype=dtype)

    def solved(self, x: Tensor) -> Tensor:
        return self.cell(x, self.start, BOUNDS, self.mode)[0]

    def looped(self, x: Tensor) -> Tensor:
        return plain_loop(Problem(self.cell, self.cell.input_projection(x), self.start, BOUNDS))[:, -1]


def assert_same(task: Callable[[Task], Any], setting: Setting, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(task(setting.solved), task(setting.looped), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_second_derivatives_are_those_of_finite_differences(cls: type[Cell], mode: str) -> None:
    setting = Setting(cls, mode)
    names = [name for name, _ in setting.cell.named_parameters()]

    def run(x: Tensor, start: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        swapped = dict(zip(names, parameters, strict=True))
        y, final = functional_call(setting.cell, swapped, (x, start, BOUNDS, mode))
        return y, final

    inputs = [setting.x, setting.start, *setting.cell.parameters()]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_native_kernel_has_second_derivatives(cls: type[Cell]) -> None:
    if not ops.is_available():
        pytest.skip("needs the native library")
    setting = Setting(cls, "auto", torch.float32)
    x = setting.x.requires_grad_()
    wanted = [x, setting.cell.A, setting.cell.get_parameter("B"), setting.cell.b]

    def second(run: Task) -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(run(x).sum(), x, create_graph=True)
        return torch.autograd.grad(first.pow(2).sum(), wanted)

    torch.testing.assert_close(second(setting.solved), second(setting.looped), rtol=1e-3, atol=1e-3)


TASKS: dict[str, Callable[[Setting, Task], Any]] = {
    "jvp": lambda s, run: jvp(run, (s.x,), (torch.ones_like(s.x),)),
    "vjp": lambda s, run: vjp(run, s.x)[1](torch.ones(TOKENS, CHANNELS, dtype=s.x.dtype)),
    "jacrev": lambda s, run: jacrev(run)(s.x),
    "jacfwd": lambda s, run: jacfwd(run)(s.x),
    "hessian": lambda s, run: hessian(lambda x: run(x).square().sum())(s.x),
    "grad of grad": lambda s, run: grad(lambda x: grad(lambda x: run(x).sum())(x).square().sum())(s.x),
    "vmap": lambda s, run: vmap(run)(torch.stack([s.x, 2 * s.x])),
    "vmap, second": lambda s, run: vmap(run, in_dims=1)(torch.stack([s.x, 2 * s.x], 1)),
    "grad of each": lambda s, run: vmap(grad(lambda x: run(x).sum()))(torch.stack([s.x, 2 * s.x])),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", ALL_CELLS)
def test_transforms_of_a_cell_are_those_of_the_loop(cls: type[Cell], mode: str, task: str) -> None:
    setting = Setting(cls, mode)
    assert_same(lambda run: TASKS[task](setting, run), setting)


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_forward_mode_of_the_native_kernel_is_not_zero(cls: type[Cell]) -> None:
    setting = Setting(cls, "auto", torch.float32)
    assert_same(lambda run: TASKS["jvp"](setting, run), setting, 1e-4)


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_dual_numbers_without_torch_func_are_refused_with_advice(mode: str) -> None:
    setting = Setting(ParaGRU, mode)
    message = "use torch.func.jvp"
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match=message):
        setting.solved(forward_ad.make_dual(setting.x, torch.ones_like(setting.x)))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_each_copy_of_the_parameters_are_its_own(mode: str) -> None:
    setting = Setting(ParaGRU, mode)
    pairs = {name: torch.stack([p, 0.5 * p]) for name, p in setting.cell.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        y: Tensor = functional_call(setting.cell, parameters, (setting.x,), {"mode": mode})[0]
        return y.square().sum()

    together = vmap(grad(loss))(pairs)
    for i in range(2):
        alone = grad(loss)({name: pair[i] for name, pair in pairs.items()})
        torch.testing.assert_close({name: g[i] for name, g in together.items()}, alone)


def test_the_bare_operation_refuses_what_it_has_no_derivative_for() -> None:
    bx, a, start = torch.randn(2, 3, 4), torch.randn(3, 4), torch.zeros(1, 1, 4)
    bounds = torch.tensor([0, 2], dtype=torch.int32)

    def run(bx: Tensor) -> Tensor:
        return ops.recurrence("gru", bx, a, None, start, bounds)

    with pytest.raises(RuntimeError, match="bx: this operation has no forward-mode derivative"):
        jvp(run, (bx,), (torch.ones_like(bx),))
    leaf = bx.requires_grad_()
    # The gradient of the sum is a constant: only what the operation saved depends on bx.
    (first,) = torch.autograd.grad(run(leaf).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        first.sum().backward()
