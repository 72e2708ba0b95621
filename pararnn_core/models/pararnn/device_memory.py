"""What fits into a device's memory, and the words for it. Numbers in, numbers out, but for `free_bytes`."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pararnn_core import ops
from pararnn_core.device.matrix import BLOCK_WEIGHTS
from pararnn_core.models.pararnn.config import ModelConfig

_FLOAT, _NARROW = 4, 2
_ALIVE_AT_ONCE = 2
"""Intermediate rows of a step, as a multiple of those that are counted: a generous guess."""


class PoolSize(NamedTuple):
    """How many states the pool holds, and why so many."""

    num_slots: int
    explanation: str


def free_bytes(device: torch.device) -> int:
    """Of a CUDA device: what the driver would still give, and what torch holds without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def step_bytes(config: ModelConfig, tokens: int) -> int:
    """Working memory of a step of so many tokens whose logits are all asked for, not less than it takes."""
    narrow = _FLOAT if config.dtype == "float32" and config.quantization is None else _NARROW
    # Of a row: the stream, y and the last norm in float32; between products u, v and g, v convolved, bx, what
    # is gated and mixed, n and the update.
    mixer = (3 * _FLOAT + (8 + config.cell_type.num_gates) * narrow) * config.hidden_size
    row = mixer + 3 * narrow * config.mlp_hidden_size + _FLOAT * config.vocab_size
    return _ALIVE_AT_ONCE * tokens * row + _dequantized_bytes(config)


def _dequantized_bytes(config: ModelConfig) -> int:
    """Of what stands beside a quantised matrix while torch multiplies with it.

    In one pass to bfloat16 where the kernels take all matrices; else integers, scales and weights in float32.
    """
    if config.quantization is None:
        return 0
    largest = config.hidden_size * max(config.vocab_size, config.mlp_hidden_size, 2 * config.hidden_size)
    by_head = config.cell_type.num_gates * config.hidden_size**2 // config.num_heads
    formats = {config.quantization.default, *(each for _, each in config.quantization.overrides)}
    widths = {config.hidden_size, config.hidden_size // config.num_heads, config.mlp_hidden_size}
    in_one_pass = all(
        ops.takes_integers(its.bits, its.group_size, width) for its in formats for width in widths
    )
    return (_NARROW if in_one_pass else 3 * _FLOAT) * max(min(largest, BLOCK_WEIGHTS), by_head)


def pool_size(free: int, working: int, bytes_per_slot: int, asked: int, spare: int = 0) -> PoolSize:
    """States of running requests: as many as are asked for, or as fit.

    free: bytes that weights have left; working: bytes of a step; bytes_per_slot: of a state and its copy;
    spare: states beyond those of requests.
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
    """Why weights cannot be loaded."""
    return (
        f"its weights need {_as_text(needed)} of the memory of {device}, and {_as_text(free)} are free; "
        "free some, take a smaller or quantised checkpoint, or serve on the CPU"
    )


def _as_text(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
