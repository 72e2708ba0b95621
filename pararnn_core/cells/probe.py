"""Checks of a user's recurrence_step that need several calls: that it is not random and does not mix rows.

They run in the first solve, so that every mode raises the same error, which names recurrence_step.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.solvers.newton import NewtonResult

_ROWS = 3
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def probe_step(cell: Recurrence, like: Tensor) -> None:
    """Raise ValueError if the step is random or its rows influence each other. like: bx (T, G, D).

    The check runs once for each dtype, device and training mode. The cells of this package are not checked.
    """
    if cell.native_name is not None or not len(like):
        return
    # `cell` is the user's own object, although its parameters are swapped during this call.
    key = (like.dtype, like.device, tuple(module.training for module in cell.modules()))
    if cell.__dict__.get("_probed") == key:
        return
    h, bx = _waves(like, (_ROWS, cell.num_states, cell.state_dim)), _waves(like, (_ROWS, *like.shape[1:]))
    with torch.no_grad():
        _refuse_random(cell, h, bx)
        _refuse_mixed_rows(cell, h, bx)
    cell.__dict__["_probed"] = key


def _waves(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return different values of both signs within +-0.7."""
    count = torch.Size(shape).numel()
    return (0.7 * torch.cos(torch.arange(count, dtype=torch.float64) * 1.3)).to(like).view(shape)


def _refuse_random(cell: Recurrence, h: Tensor, bx: Tensor) -> None:
    # The probe must not advance the random numbers of the user's program.
    with torch.random.fork_rng(devices=[h.device] if h.device.type == "cuda" else []):
        before = _random_state(h.device)
        first = cell.advance(h, bx)
        drawn = not torch.equal(before, _random_state(h.device))
        again = first if drawn else cell.advance(h, bx)
    # NaN differs from itself, but a step that returns it is not random.
    if drawn or not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            f"{type(cell).__name__}.recurrence_step is random: it drew random numbers, or the same h and bx "
            "gave another state. Solvers and derivatives repeat the step; put dropout outside the cell"
        )


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _refuse_mixed_rows(cell: Recurrence, h: Tensor, bx: Tensor) -> None:
    together = cell.advance(h, bx)
    alone = torch.cat([cell.advance(h[i : i + 1], bx[i : i + 1]) for i in range(_ROWS)])
    error = (together - alone).abs() / (1 + alone.abs())
    if bool((error > _TOLERANCE[h.dtype]).any()):
        raise ValueError(
            f"{type(cell).__name__}.recurrence_step mixes rows: the next state of a row of h {tuple(h.shape)}"
            " changes when other rows are present. The first dimension is the batch; reduce over the others"
        )


def warn_of_fallback(cell: Recurrence, result: NewtonResult) -> None:
    """Warn, once for each cell, that Newton's method converged for no unit."""
    if cell.newton.max_iterations == 0 or cell.__dict__.get("_warned_of_fallback"):
        return
    cell.__dict__["_warned_of_fallback"] = True
    warnings.warn(
        f"{type(cell).__name__}: Newton converged nowhere in {result.iterations} updates; all {result.units} "
        "units were solved step by step, which is slower than mode 'sequential'. Check jacobian_structure "
        "and the input for NaN, make the recurrent weights smaller (clip_recurrent_), or allow more updates "
        "(cell.newton)",
        RuntimeWarning,
        stacklevel=2,
    )
