"""The native kernels: the only door to torch.ops.pararnn."""

from pararnn_core.ops.elementwise import add_scaled, causal_conv1d_, gated_rms_norm, rms_norm, silu_mul
from pararnn_core.ops.library import NativeLibraryMissing, is_available
from pararnn_core.ops.limits import multiply_add, read_bytes
from pararnn_core.ops.linear import (
    PackedBlockLinear,
    PackedLinear,
    block_linear,
    embedding,
    linear,
    pack_block_linear,
    pack_linear,
    unpack,
)
from pararnn_core.ops.recurrence import recurrence, recurrence_
from pararnn_core.ops.threads import available_isa_levels, isa_level, num_threads, set_num_threads

__all__ = [
    "NativeLibraryMissing",
    "PackedBlockLinear",
    "PackedLinear",
    "add_scaled",
    "available_isa_levels",
    "block_linear",
    "causal_conv1d_",
    "embedding",
    "gated_rms_norm",
    "is_available",
    "isa_level",
    "linear",
    "multiply_add",
    "num_threads",
    "pack_block_linear",
    "pack_linear",
    "read_bytes",
    "recurrence",
    "recurrence_",
    "rms_norm",
    "set_num_threads",
    "silu_mul",
    "unpack",
]
