"""The model of the design written a second time: token after token, plain formulas, any float dtype."""

from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.pararnn.layers import Block
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM


class Trace(NamedTuple):
    """logits (T, V); of the last token: cell (L, N, D), conv (L, K-1, D), last_hidden (d,)."""

    logits: Tensor
    cell: Tensor
    conv: Tensor
    last_hidden: Tensor


def run_step_by_step(model: ParaRNNForCausalLM, tokens: list[int], dtype: torch.dtype) -> Trace:
    config = model.config
    d = config.hidden_size
    weights = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    cell = torch.zeros(config.num_hidden_layers, config.cell_type.num_states, d, dtype=dtype)
    conv = torch.zeros(config.num_hidden_layers, max(config.conv_kernel - 1, 0), d, dtype=dtype)
    head = weights["embedding.weight" if config.tie_embeddings else "lm_head.weight"]
    rows, hidden = [], torch.zeros(d, dtype=dtype)
    for token in tokens:
        x = weights["embedding.weight"][token]
        for i, block in enumerate(model.blocks):
            w = {
                n.removeprefix(f"layers.{i}."): p for n, p in weights.items() if n.startswith(f"layers.{i}.")
            }
            x, cell[i], conv[i] = _block(block, w, x, cell[i].clone(), conv[i].clone())
        hidden = _norm(x, weights.get("norm.weight"), config.norm_eps)
        rows.append(head @ hidden + weights.get("lm_head.bias", 0))
    return Trace(torch.stack(rows), cell, conv, hidden)


def _block(
    block: Block, w: dict[str, Tensor], x: Tensor, cell: Tensor, conv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    config, eps = block.config, block.config.norm_eps
    v = _product(w, "in_proj.weight", _norm(x, w.get("norm.weight"), eps))
    v, g = v.chunk(2) if config.has_gate else (v, None)
    if config.conv_kernel:
        if config.activation_dtype == "bfloat16":
            v = v.to(torch.bfloat16).to(v.dtype)
        window = torch.cat([conv, v[None]])
        conv = window[1:]
        v = (window * w["conv.weight"].T).sum(0) + w["conv.bias"]
        v = _silu(v) if config.conv_activation == "silu" else v
    heads = v.view(config.num_heads, -1)
    bx = torch.stack(
        [
            torch.cat([heads[h] @ w["cell.B"][h, :, gate] for h in range(len(heads))])
            for gate in range(w["cell.B"].shape[2])
        ]
    )
    bx = bx + w["cell.b"]
    cell = _STEPS[config.cell](cell, bx, w)
    gate, weight = 1 if g is None else _silu(g), w.get("gate_norm.weight")
    if config.gate_order == "gate_then_norm":
        y = _norm(cell[-1] * gate, weight, eps)
    else:
        y = _norm(cell[-1], weight, eps) * gate
    scale = w["residual_scale"] if config.residual_scale == "scalar" else 1
    mixed = _product(w, "out_proj.weight", y)
    x = scale * x + mixed if config.mixer_residual else mixed
    if not config.mlp_hidden_size:
        return x, cell, conv
    n = _norm(x, w.get("mlp_norm.weight"), eps)
    update = w["mlp.down_proj.weight"] @ (
        _silu(w["mlp.gate_proj.weight"] @ n) * (w["mlp.up_proj.weight"] @ n)
    )
    return (x + update if config.mlp_residual else update), cell, conv


def _gru(state: Tensor, bx: Tensor, w: dict[str, Tensor]) -> Tensor:
    (h,), (a_z, a_r, a_n) = state, w["cell.A"]
    z, r = torch.sigmoid(a_z * h + bx[0]), torch.sigmoid(a_r * h + bx[1])
    n = torch.tanh(a_n * (h * r) + bx[2])
    return ((1 - z) * h + z * n)[None]


def _lstm(state: Tensor, bx: Tensor, w: dict[str, Tensor]) -> Tensor:
    (c, h), (a_f, a_o, a_g), (p_f, p_o) = state, w["cell.A"], w["cell.C"]
    f = torch.sigmoid(a_f * h + p_f * c + bx[0])
    new_c = f * c + (1 - f) * torch.tanh(a_g * h + bx[2])
    o = torch.sigmoid(a_o * h + p_o * new_c + bx[1])
    return torch.stack([new_c, o * torch.tanh(new_c)])


def _nlru(state: Tensor, bx: Tensor, w: dict[str, Tensor]) -> Tensor:
    a = torch.sigmoid(bx[0])
    return a * state + (1 - a) * torch.tanh(w["cell.A"][0] * state + bx[1])


def _mingru(state: Tensor, bx: Tensor, w: dict[str, Tensor]) -> Tensor:
    z = torch.sigmoid(bx[0])
    return (1 - z) * state + z * bx[1]


_STEPS = {"gru": _gru, "lstm": _lstm, "nlru": _nlru, "mingru": _mingru}


def _product(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return w[name] @ x if name in w else x


def _norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    if weight is None:
        return x
    return x / torch.sqrt((x * x).mean() + eps) * weight


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)
