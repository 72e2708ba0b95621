"""Sizes of weights, steps and pools in a device's memory, with texts that explain them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pararnn_core import ops
from pararnn_core.device.matrix import BLOCK_WEIGHTS
from pararnn_core.models.pararnn.config import ModelConfig

_FLOAT, _NARROW = 4, 2
_ALIVE_AT_ONCE = 2
"""Factor by which a step's intermediate rows exceed the counted ones. It is a generous guess."""


class PoolSize(NamedTuple):
    """The number of states in a pool, with the reason for it."""

    num_slots: int
    explanation: str


def free_bytes(device: torch.device) -> int:
    """Return the free bytes of a CUDA device: those of the driver, and those that torch reserves unused."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def step_bytes(config: ModelConfig, tokens: int) -> int:
    """Return an upper bound of the working memory of a step of `tokens` tokens that all need logits."""
    narrow = _FLOAT if config.dtype == "float32" and config.quantization is None else _NARROW
    # A row in float32: the residual stream, y and the last norm. A row in the narrow type: u, v and g, v
    # convolved, bx, the gated and the mixed row, n and the update.
    mixer = (3 * _FLOAT + (8 + config.cell_type.num_gates) * narrow) * config.hidden_size
    row = mixer + 3 * narrow * config.mlp_hidden_size + _FLOAT * config.vocab_size
    return _ALIVE_AT_ONCE * tokens * row + _dequantized_bytes(config)


def _dequantized_bytes(config: ModelConfig) -> int:
    """Return the bytes of the dequantised weights that exist while torch multiplies with a quantised matrix.

    They are bfloat16 if the kernels support all matrices, else integers, scales and weights in float32.
    """
    if config.quantization is None:
        return 0
    largest = config.hidden_size * max(config.vocab_size, config.mlp_hidden_size, 2 * config.hidden_size)
    by_head = config.cell_type.num_gates * config.hidden_size**2 // config.num_heads
    formats = {config.quantization.default, *(each for _, each in config.quantization.overrides)}
    widths = {config.hidden_size, config.hidden_size // config.num_heads, config.mlp_hidden_size}
    in_one_pass = all(
        ops.takes_integers(each.bits, each.group_size, width) for each in formats for width in widths
    )
    # A cell's matrix is dequantised whole, all others a block at a time.
    return (_NARROW if in_one_pass else 3 * _FLOAT) * max(min(largest, BLOCK_WEIGHTS), by_head)


def pool_size(free: int, working: int, bytes_per_slot: int, asked: int, spare: int = 0) -> PoolSize:
    """Return the size of a pool with a state for each of `asked` running requests, or as many as fit.

    free: bytes beside the weights; working: bytes of a step; bytes_per_slot: of a state and its copy
    spare: states beyond those of requests
    Raises ValueError if not even one fits.
    """
    room = free - working
    fits = max(room, 0) // bytes_per_slot - spare
    sums = (
        f"{_as_text(free)} of device memory are free beside the weights, a step takes up to"
        f" {_as_text(working)} and a state with its copy {_as_text(bytes_per_slot)}"
    )
    if fits < 1:
        raise ValueError(f"no state of a session fits: {sums}")
    if fits < asked:
        return PoolSize(fits, f"{fits} requests run at once instead of {asked}: {sums}")
    pool = _as_text((asked + spare) * bytes_per_slot)
    return PoolSize(asked, f"{asked} requests run at once, in {pool} of states; {fits} would fit: {sums}")


def too_large(needed: int, free: int, device: str) -> str:
    """Return the text of the error for weights that are larger than the free memory."""
    return (
        f"its weights need {_as_text(needed)} of the memory of {device}, and {_as_text(free)} are free; "
        "free some, take a smaller or quantised checkpoint, or serve on the CPU"
    )


def _as_text(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
