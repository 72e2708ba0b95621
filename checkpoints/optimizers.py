"""Muon for the matrices of the layers and AdamW for all other parameters, with one learning rate."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from checkpoints.muon import Muon

WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
# Cells and convolutions are per channel, embeddings per token. Orthogonal updates have no meaning there.
MUON_MODULES = ("in_proj", "out_proj", "gate_proj", "up_proj", "down_proj")


class Optimizers:
    """Both optimizers as one."""

    def __init__(self, model: nn.Module, use_muon: bool = True) -> None:
        groups = parameter_groups(model, use_muon)
        self.parts: list[Optimizer] = [
            AdamW(
                [
                    {"params": groups["decayed"], "weight_decay": WEIGHT_DECAY},
                    {"params": groups["plain"], "weight_decay": 0.0},
                ],
                betas=BETAS,
            )
        ]
        if groups["muon"]:
            muon = Muon(groups["muon"], WEIGHT_DECAY)
            self.parts.append(muon)

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


def clip_recurrent_weights(parameters: Iterable[tuple[str, Tensor]], limit: float) -> None:
    """Clamp every cell's A and C to [-limit, limit] in place."""
    for name, parameter in parameters:
        if name.endswith((".cell.A", ".cell.C")):
            parameter.data.clamp_(-limit, limit)


def _group(name: str, parameter: Tensor, use_muon: bool) -> str:
    if parameter.ndim < 2 or name.endswith((".conv.weight", ".cell.A", ".cell.b", ".cell.C")):
        return "plain"
    if use_muon and any(f".{module}." in name for module in MUON_MODULES):
        return "muon"
    return "decayed"
