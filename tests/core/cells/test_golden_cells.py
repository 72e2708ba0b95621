"""The cells against what the ParaRNN authors' own code computed (tests/golden/README.md)."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from pararnn_core.cells import Cell, ParaGRU, ParaLSTM
from pararnn_core.solvers.newton import NewtonOptions

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NAMES = [f"{cell}_{size}" for cell in ("gru", "lstm") for size in ("one", "small", "long", "stiff")]
TOLERANCE = 1e-12


class Golden:
    def __init__(self, name: str) -> None:
        with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
            self.tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
            heads = int(file.metadata()["heads"])
        cls = ParaGRU if name.startswith("gru") else ParaLSTM
        self.batch, self.length, input_dim = self.tensors["x"].shape
        self.cell: Cell = cls(input_dim, self.tensors["param.A"].shape[1], heads).double()
        self.cell.load_state_dict(
            {key: self.tensors[f"param.{key}"] for key, _ in self.cell.named_parameters()}
        )
        self.x = self.tensors["x"].clone().requires_grad_()
        self.h0 = self.tensors["h0"].view(self.batch, self.cell.num_states, -1).clone().requires_grad_()

    def states(self, initial_state: Tensor, mode: str) -> Tensor:
        """(B, T, N*D)."""
        cu_seqlens = torch.arange(self.batch + 1, dtype=torch.int32) * self.length
        bx = self.cell.input_projection(self.x).flatten(0, 1)
        states = self.cell.recurrence(bx, initial_state, cu_seqlens, mode)
        return states.reshape(self.batch, self.length, -1)

    def check(self, name: str, tensor: Tensor | None) -> None:
        assert tensor is not None
        error = (tensor - self.tensors[name]).abs().max().item()
        assert error <= TOLERANCE, f"{name}: {error:.1e}"

    def check_parameter_gradients(self, prefix: str) -> None:
        for key, parameter in self.cell.named_parameters():
            self.check(f"{prefix}{key}", parameter.grad)


@pytest.mark.parametrize("mode", ["auto", "sequential", "parallel"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_from_zero_are_golden(name: str, mode: str) -> None:
    golden = Golden(name)
    y, final_state = golden.cell(golden.x, mode=mode)
    (y * golden.tensors["grad_y"]).sum().backward()
    golden.check("y", y)
    assert torch.equal(final_state[:, -1], y[:, -1])
    golden.check("grad_x", golden.x.grad)
    golden.check_parameter_gradients("grad.")
    golden.check("states", golden.states(torch.zeros_like(golden.h0), mode))


@pytest.mark.parametrize("mode", ["auto", "sequential", "parallel"])
@pytest.mark.parametrize("name", NAMES)
def test_states_and_gradients_from_initial_state_are_golden(name: str, mode: str) -> None:
    golden = Golden(name)
    states = golden.states(golden.h0, mode)
    (states * golden.tensors["grad_states_from_h0"]).sum().backward()
    golden.check("states_from_h0", states)
    golden.check("from_h0.grad_x", golden.x.grad)
    assert golden.h0.grad is not None
    golden.check("from_h0.grad_h0", golden.h0.grad.flatten(1))
    golden.check_parameter_gradients("from_h0.grad.")


@pytest.mark.parametrize("name", NAMES)
def test_defaults_converge_without_fallback(name: str) -> None:
    golden = Golden(name)
    golden.cell(golden.x, mode="parallel")
    solve = golden.cell.last_solve
    assert solve is not None
    assert solve.converged
    assert solve.fallbacks == 0
    assert solve.iterations <= 8


@pytest.mark.parametrize(("name", "error"), [("gru_stiff", 0.15), ("lstm_stiff", 0.05)])
def test_three_updates_do_not_solve_stiff_cells_and_say_so(name: str, error: float) -> None:
    golden = Golden(name)
    golden.cell.newton = NewtonOptions(max_iterations=3, fallback=False)
    y, _ = golden.cell(golden.x, mode="parallel")
    solve = golden.cell.last_solve
    assert solve is not None
    assert not solve.converged
    assert (y - golden.tensors["y"]).abs().max().item() == pytest.approx(error, rel=0.05)
    with pytest.raises(RuntimeError, match="did not converge"):
        y.sum().backward()


@pytest.mark.filterwarnings("ignore:.*Newton converged nowhere:RuntimeWarning")
@pytest.mark.parametrize("name", ["gru_stiff", "lstm_stiff"])
def test_fallback_after_three_updates_is_golden(name: str) -> None:
    golden = Golden(name)
    golden.cell.newton = NewtonOptions(max_iterations=3)
    golden.check("y", golden.cell(golden.x, mode="parallel")[0])
    solve = golden.cell.last_solve
    assert solve is not None
    assert solve.converged
    assert solve.fallbacks > 0
