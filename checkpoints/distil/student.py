"""The student: the teacher's embedding, norms and MLPs, and a recurrent mixer in place of each attention."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from checkpoints.distil.teacher_weights import TeacherBlock, TeacherWeights
from pararnn_core.assemble.assemble import joined_config
from pararnn_core.assemble.llama_file import LlamaSizes
from pararnn_core.models.pararnn.layers import Block
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

MIXER_PARTS = ("in_proj.", "conv.", "cell.", "gate_norm.", "out_proj.")
# With a gate's bias from -1 to 5 its channel forgets over 1 to 150 tokens.
GATE_BIAS = (-1.0, 5.0)
# The candidate's row of a cell, z r n of a GRU and f o g of an LSTM.
CANDIDATE = 2
SMALL = 0.1


def new_student(weights: TeacherWeights, cell: str) -> ParaRNNForCausalLM:
    """Return a student with the teacher's weights, whose mixers pass the values. Only mixers are trained."""
    model = ParaRNNForCausalLM(joined_config(weights.sizes, cell))
    with torch.no_grad():
        model.embedding.get_parameter("weight").copy_(weights.embedding)
        model.norm.weight.copy_(weights.norm)
        for block, source in zip(model.blocks, weights.blocks, strict=True):
            _copy_frozen(block, source)
            start_mixer(block, source, weights.sizes)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_mixer(name))
    return model


def is_mixer(name: str) -> bool:
    """Return True for parameters that replace an attention."""
    return any(f".{part}" in name for part in MIXER_PARTS)


def mixer_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that are trained, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if is_mixer(name))


def _copy_frozen(block: Block, source: TeacherBlock) -> None:
    block.norm.weight.copy_(source.norm)
    block.mlp_norm.weight.copy_(source.mlp_norm)
    block.mlp.gate_proj.get_parameter("weight").copy_(source.gate)
    block.mlp.up_proj.get_parameter("weight").copy_(source.up)
    block.mlp.down_proj.get_parameter("weight").copy_(source.down)


def start_mixer(block: Block, source: TeacherBlock, sizes: LlamaSizes) -> None:
    """Let values pass convolution and candidate unchanged; channels forget over 1 to 150 tokens."""
    d, heads, width = sizes.hidden_size, sizes.num_heads, sizes.head_size
    shared = heads // sizes.num_kv_heads
    value = source.value.view(sizes.num_kv_heads, width, d).repeat_interleave(shared, dim=0)
    block.in_proj.get_parameter("weight")[:d].copy_(value.flatten(0, 1))
    block.out_proj.get_parameter("weight").copy_(source.output)
    block.conv.weight.zero_()
    block.conv.weight[:, -1] = 1.0
    block.conv.bias.zero_()
    cell = block.cell
    cell.A.zero_()
    cell.get_parameter("B").mul_(SMALL)
    cell.get_parameter("B")[:, :, CANDIDATE, :] = torch.eye(width)
    sign = 1.0 if block.config.cell == "lstm" else -1.0
    spread = torch.linspace(*GATE_BIAS, width)
    for head in range(heads):
        order = torch.randperm(width)
        cell.b[0, head * width : (head + 1) * width] = sign * spread[order]


def fit_gates(block: Block, u: Tensor, level: float = 2.0) -> None:
    """Set the gate half of in_proj by ridge regression, so that gates are about `level` on rows u (N, d).

    A random gate would give each channel a random sign. An almost constant one passes the values.
    """
    u = u.double()
    d = u.shape[-1]
    moments = u.T @ u / len(u)
    moments.diagonal().add_(1e-3 * moments.diagonal().mean())
    direction = torch.linalg.solve(moments, u.mean(0))
    gate = block.in_proj.get_parameter("weight")[d:]
    gate.mul_(SMALL).add_(level * direction.float())
