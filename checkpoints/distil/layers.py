"""One layer of the student and of the teacher in training, as functions that torch can compile.

Norms, convolution, gate and casts take as long as the matrix products.
Compiled, a chain of them reads and writes its rows only once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.cells.native import no_rows
from pararnn_core.models.pararnn.layers import Block
from pararnn_core.ops.recurrence import prepare_tracing, traced_recurrence

if TYPE_CHECKING:
    from checkpoints.distil.teacher import Attention, FrozenMLP

Mix = Callable[[Block, Tensor, torch.dtype], Tensor]
StudentLayer = Callable[[Block, Tensor, "FrozenMLP", Tensor], Tensor]
TeacherLayer = Callable[["Attention", Tensor, "FrozenMLP", Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def mix(block: Block, u: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mixer's output float32 of normalised u (B, T, d); matrix products are in dtype."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        mixed: Tensor = block.mix(u, "auto").float()
    return mixed


def native_mix(block: Block, u: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `mix` by the native recurrence: a compiler cannot follow the cell's choice of solvers."""
    cell, (batch, length, width) = block.cell, u.shape
    ends = torch.arange(0, batch * length + 1, length, dtype=torch.int32)
    start = u.new_zeros(batch, cell.num_states, width)
    peepholes = cast("Tensor", cell.C) if cell.num_peepholes else None
    recurrent = cell.A if cell.recurrent_rows() else no_rows(cell)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        v, g = block.in_proj(u).chunk(2, dim=-1)
        bx = cell.input_projection(block.conv(v)).flatten(0, 1).contiguous()
        states = traced_recurrence(str(cell.native_name), bx, recurrent, peepholes, start, ends)
        y = states[:, -1].view(batch, length, width)
        mixed: Tensor = block.out_proj(block.gate(y, g)).float()
    return mixed


def normalised(x: Tensor, norm: Tensor, eps: float) -> Tensor:
    """Return the root mean square norm of x."""
    return F.rms_norm(x, norm.shape, norm, eps)


def student_layer(mixer: Mix, block: Block, norm: Tensor, mlp: FrozenMLP, x: Tensor) -> Tensor:
    """Run a layer of the student, x (B, T, d) -> (B, T, d); norm and mlp are the teacher's."""
    x = x + mixer(block, normalised(x, norm, mlp.eps), mlp.down.dtype)
    return x + mlp(x)


def teacher_layer(
    attention: Attention, norm: Tensor, mlp: FrozenMLP, x: Tensor, rotation: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return input and output of the attention for x (B, T, d), and the next x."""
    u = normalised(x, norm, mlp.eps)
    a = attention(u, rotation)
    x = x + a
    return u, a, x + mlp(x)


class Layers(NamedTuple):
    """The functions of a step."""

    mix: Mix
    student: StudentLayer
    teacher: TeacherLayer


PLAIN = Layers(mix, partial(student_layer, mix), teacher_layer)


def compiled_layers() -> Layers:
    """Return PLAIN compiled at the first call for each shape. That takes a minute, once per machine."""
    prepare_tracing()
    # A rotation by complex factors is not compiled, which is equally fast.
    warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex")
    return Layers(
        torch.compile(native_mix, dynamic=False),
        torch.compile(partial(student_layer, native_mix), dynamic=False),
        torch.compile(teacher_layer, dynamic=False),
    )
