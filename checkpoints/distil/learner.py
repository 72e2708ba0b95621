"""Training of the student: its forward pass with frozen products in bfloat16, and a step of each stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from checkpoints.distil.kl import Divergence, divergence, kl_gradient
from checkpoints.distil.student import fit_gates
from checkpoints.distil.teacher import Importance, Teacher
from checkpoints.distil.windows import Batch
from pararnn_core.assemble.portable_rounding import round_portably
from pararnn_core.models.pararnn.layers import Block
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import format_for

# The shown loss is that of every eighth row. All rows would cost a tenth of a step.
SHOWN_EVERY = 8
GRADIENT_NORM = 1.0


class Learner:
    """Teacher and student, with common norms, embedding and head. Only mixers have gradients.

    mlps: the student's; the teacher's, or these rounded
    """

    def __init__(
        self, model: ParaRNNForCausalLM, teacher: Teacher, gradient_norm: float = GRADIENT_NORM
    ) -> None:
        self.model, self.teacher, self.gradient_norm = model, teacher, gradient_norm
        self.mlps = teacher.mlps

    def mix(self, block: Block, u: Tensor) -> Tensor:
        """Return the mixer's output float32 of normalised u (B, T, d); products have the teacher's dtype."""
        return self.teacher.layers.mix(block, u, self.teacher.head_weight.dtype)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the normalised rows before the head (B, T, d) of tokens (B, T)."""
        teacher = self.teacher
        x = F.embedding(tokens, teacher.embedding)
        for block, norm, mlp in zip(self.model.blocks, teacher.norms, self.mlps, strict=True):
            x = teacher.layers.student(block, norm, mlp, x)
        return teacher.normalised(x, teacher.norm)

    @torch.no_grad()
    def importance(self, tokens: Tensor) -> list[Importance]:
        """Return the importance of the student's MLP inputs, by layer, on tokens (B, T)."""
        teacher, found = self.teacher, list[Importance]()
        x = F.embedding(tokens, teacher.embedding)
        with uncompiled():
            for block, norm, mlp in zip(self.model.blocks, teacher.norms, teacher.mlps, strict=True):
                x = x + self.mix(block, teacher.normalised(x, norm))
                u = mlp.input(x)
                found.append(Importance(_mean_squares(u), _mean_squares(mlp.inner(u))))
                x = x + mlp(x)
        return found

    def round_mlps(self, importance: Sequence[Importance]) -> None:
        """Give the student from now on the MLPs of a 4-bit checkpoint."""
        layers = zip(self.teacher.mlps, self.model.blocks, importance, strict=True)
        self.mlps = [mlp.replaced(*rounded_mlp(block, inputs)) for mlp, block, inputs in layers]

    @torch.no_grad()
    def start(self, tokens: Tensor, gates: bool = True) -> None:
        """Fit each mixer's output scale on one batch, and its gates unless they are trained."""
        blocks = self.model.blocks

        def fit(layer: int, _: Tensor, u: Tensor, a: Tensor) -> None:
            block = blocks[layer]
            if gates:
                fit_gates(block, u.flatten(0, -2))
            y = self.mix(block, u)
            block.gate_norm.weight.mul_(float((y * a).sum() / y.square().sum()))

        with uncompiled():
            self.teacher.hidden(tokens, fit)

    def align_step(self, batch: Batch) -> list[float]:
        """Compute gradients of each mixer's own error, clipped by layer; return the relative errors."""
        errors: list[float] = []
        blocks = self.model.blocks

        def learn(layer: int, x: Tensor, u: Tensor, a: Tensor) -> None:
            block = blocks[layer]
            with torch.enable_grad():
                error = relative_error(self.mix(block, u), a)
                error.backward()  # type: ignore[no-untyped-call]  # torch declares it without types
            trained = [p for p in block.parameters() if p.requires_grad]
            nn.utils.clip_grad_norm_(trained, self.gradient_norm)
            errors.append(float(error.detach()))

        self.teacher.hidden(batch.inputs, learn)
        return errors

    def distil_step(self, batch: Batch) -> Divergence:
        """Compute gradients of the KL divergence, clipped over all mixers; return that of some rows."""
        head = self.teacher.head_weight
        wanted = self.teacher.hidden(batch.inputs).flatten(0, 1)
        rows = self.hidden(batch.inputs)
        flat = rows.detach().flatten(0, 1)
        gradient = kl_gradient(flat, wanted, head).view_as(rows)
        rows.backward(gradient)  # type: ignore[no-untyped-call]  # torch declares it without types
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.gradient_norm)
        few = slice(None, None, SHOWN_EVERY)
        return divergence(flat[few], wanted[few], head, batch.targets.flatten()[few])

    @torch.no_grad()
    def measure(self, batch: Batch) -> Divergence:
        """Return KL and cross-entropies without a step."""
        with uncompiled():
            rows, wanted = self.hidden(batch.inputs), self.teacher.hidden(batch.inputs)
        targets = batch.targets.flatten()
        return divergence(rows.flatten(0, 1), wanted.flatten(0, 1), self.teacher.head_weight, targets)


def rounded_mlp(block: Block, importance: Importance) -> Iterator[Tensor]:
    """Yield gate, up and down of a block as a 4-bit checkpoint has them, in float32."""
    mlp, (first, last) = block.mlp, importance
    for module, inputs in ((mlp.gate_proj, first), (mlp.up_proj, first), (mlp.down_proj, last)):
        weight = module.get_parameter("weight").detach()
        yield round_portably([weight], format_for(4), inputs.float()).dequantize()


def _mean_squares(inputs: Tensor) -> Tensor:
    """Return the mean squares (I,) of inputs (B, T, I), in the precision in which a file keeps them."""
    return inputs.float().square().flatten(0, -2).mean(0).to(torch.bfloat16)


def uncompiled() -> AbstractContextManager[None]:
    """Run a few batches without a compiler, which would take longer for their shape than it saves."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


def relative_error(y: Tensor, a: Tensor) -> Tensor:
    """Return the squared error divided by the squared size of a."""
    return F.mse_loss(y, a) / a.square().mean()
