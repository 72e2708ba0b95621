"""The rules of a user's recurrence_step that a look at one step cannot check.

The first solve tries the step on a few rows, so that every mode gives the same error, which names
recurrence_step.
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
    """Raise an error for a step that is random, or whose rows influence each other. like: bx (T, G, D).

    Tried once for each dtype, device and training mode. The cells of this package are known to be right.
    """
    if cell.native_name is not None or not len(like):
        return
    # The parameters are swapped while this runs, but `cell` is the user's own object.
    key = (like.dtype, like.device, tuple(module.training for module in cell.modules()))
    if cell.__dict__.get("_probed") == key:
        return
    h, bx = _waves(like, (_ROWS, cell.num_states, cell.state_dim)), _waves(like, (_ROWS, *like.shape[1:]))
    with torch.no_grad():
        _refuse_random(cell, h, bx)
        _refuse_mixed_rows(cell, h, bx)
    cell.__dict__["_probed"] = key


def _waves(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Values of both signs within +-0.7, no two alike."""
    count = torch.Size(shape).numel()
    return (0.7 * torch.cos(torch.arange(count, dtype=torch.float64) * 1.3)).to(like).view(shape)


def _refuse_random(cell: Recurrence, h: Tensor, bx: Tensor) -> None:
    with torch.random.fork_rng(devices=[h.device] if h.device.type == "cuda" else []):
        before = _random_state(h.device)
        first = cell.advance(h, bx)
        drawn = not torch.equal(before, _random_state(h.device))
        again = first if drawn else cell.advance(h, bx)
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
            f"{type(cell).__name__}.recurrence_step mixes rows: a row of h {tuple(h.shape)} has another next "
            "state alone than beside others. The first dimension is the batch; reduce over the last ones only"
        )


def warn_of_fallback(cell: Recurrence, result: NewtonResult) -> None:
    """Say once for each cell that Newton was of no use."""
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
