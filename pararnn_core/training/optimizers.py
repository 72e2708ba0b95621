"""Muon for the matrices of the layers and AdamW for all other parameters, with one learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from pararnn_core.training.muon import Muon

WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
# Cells and convolutions are per channel, embeddings per token. Orthogonal updates have no meaning there.
MUON_MODULES = ("in_proj", "out_proj", "gate_proj", "up_proj", "down_proj")


class Optimizers:
    """Both optimizers as one."""

    def __init__(
        self, model: nn.Module, use_muon: bool = True, products: torch.dtype = torch.float32
    ) -> None:
        groups = parameter_groups(model, use_muon)
        self.parts: list[Optimizer] = [
            AdamW(
                [
                    {"params": groups["decayed"], "weight_decay": WEIGHT_DECAY},
                    {"params": groups["plain"], "weight_decay": 0.0},
                ],
                betas=BETAS,
                fused=True,
            )
        ]
        if groups["muon"]:
            self.parts.append(Muon(groups["muon"], WEIGHT_DECAY, products))

    def step(self, learning_rate: float) -> None:
        """Update the parameters and free their gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both optimizers, which load_state_dict reads."""
        return {type(part).__name__: part.state_dict() for part in self.parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state. Raises KeyError if it is of other optimizers."""
        for part in self.parts:
            part.load_state_dict(state[type(part).__name__])


def parameter_groups(model: nn.Module, use_muon: bool) -> dict[str, list[nn.Parameter]]:
    """Divide the parameters into muon, decayed and plain (vectors, convolutions and recurrent weights)."""
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
    for name, parameter in model.named_parameters():
        groups[_group(name, parameter, use_muon)].append(parameter)
    return groups


def _group(name: str, parameter: nn.Parameter, use_muon: bool) -> str:
    # Of a cell only B multiplies its inputs. The others are recurrent weights and biases.
    per_channel = name.endswith(".conv.weight") or (".cell." in name and not name.endswith(".B"))
    if parameter.ndim < 2 or per_channel:
        return "plain"
    if use_muon and any(f".{module}." in name for module in MUON_MODULES):
        return "muon"
    return "decayed"
