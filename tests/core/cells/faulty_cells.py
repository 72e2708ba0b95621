"""Cells whose recurrence_step breaks a rule, one for each rule, and what the error must say."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.cells import Cell


class OneChannelLess(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(self.A[0] * h + bx[..., 0, :])[..., 1:]


class ForgottenStates(Cell):
    """Two states in, one out."""

    num_states = 2
    jacobian_structure = "block_diagonal"

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h.sum(-2) + bx[..., 0, :])


class BroadcastGates(Cell):
    """bx still has its dimension of gates."""

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h.unsqueeze(-2) + bx)


class WithPair(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Any:
        h = torch.tanh(self.A[0] * h + bx[..., 0, :])
        return h, h


class NoReturn(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Any:
        torch.tanh(self.A[0] * h + bx[..., 0, :])


class AsNumber(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Any:
        return 0.0


class Narrowed(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(self.A[0] * h + bx[..., 0, :]).to(torch.bfloat16)


class BadProduct(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h @ torch.ones(h.shape[-1] + 1, 3, dtype=h.dtype) + bx[..., 0, :])


class BadIndex(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h + bx[..., 1, :])


class WithDropout(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return F.dropout(torch.tanh(self.A[0] * h + bx[..., 0, :]), 0.5, self.training)


class WithNoise(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(self.A[0] * h + bx[..., 0, :]) + 1e-3 * torch.randn_like(h)


class Counting(Cell):
    """Another step at every call, without a random number."""

    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return torch.tanh(self.calls * self.A[0] * h + bx[..., 0, :])


class BatchMean(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(h - h.mean(0, keepdim=True) + bx[..., 0, :])


class BatchNormed(Cell):
    def recurrence_step(self, h: Tensor, bx: Tensor) -> Tensor:
        return torch.tanh(F.batch_norm(h, None, None, training=True) + bx[..., 0, :])


FAULTS: dict[type[Cell], str] = {
    OneChannelLess: r"must return one tensor, the next h, of shape \(\d+, 4\)",
    ForgottenStates: r"must return one tensor, the next h, of shape \(\d+, 2, 4\)",
    BroadcastGates: r"must return one tensor, the next h, of shape \(\d+, 4\)",
    WithPair: r"of shape \(\d+, 4\) and torch.float\d\d, not tuple",
    NoReturn: r"of shape \(\d+, 4\) and torch.float\d\d, not NoneType; is the return statement missing\?",
    AsNumber: r"of shape \(\d+, 4\) and torch.float\d\d, not float",
    Narrowed: r"of shape \(\d+, 4\) and torch.float\d\d, not \(\d+, 4\) and torch.bfloat16",
    BadProduct: r"failed for h \(\d+, 4\) and bx \(\d+, 1, 4\): ",
    BadIndex: r"failed for h \(\d+, 4\) and bx \(\d+, 1, 4\): .*; bx has num_gates = 1 rows",
    WithDropout: "is random",
    WithNoise: "is random",
    Counting: "is random",
    BatchMean: "mixes rows",
    BatchNormed: "failed for h",
}
