"""The native kernels: the only door to torch.ops.pararnn."""

from pararnn_core.ops.build import build_tag
from pararnn_core.ops.cells import CellSizes, native_cells
from pararnn_core.ops.elementwise import (
    add_rms_norm_,
    add_scaled,
    causal_conv1d_,
    gated_rms_norm,
    rms_norm,
    silu_mul,
)
from pararnn_core.ops.library import NativeLibraryMissing, has_cuda_kernels, is_available
from pararnn_core.ops.limits import multiply_add, read_bytes
from pararnn_core.ops.linear import (
    PackedMatrix,
    WeightFormat,
    embedding,
    huge_page_arena,
    linear,
    pack,
    packed_nbytes,
    unpack,
)
from pararnn_core.ops.model import (
    STEP_STAGES,
    LayerWeights,
    ModelShape,
    NativeModel,
    pararnn_model,
    rwkv7_model,
)
from pararnn_core.ops.products import (
    MOST_PRODUCT_ROWS,
    dequantize,
    row_product,
    takes_floats,
    takes_integers,
)
from pararnn_core.ops.recurrence import recurrence, recurrence_, recurrence_backward, traced_recurrence
from pararnn_core.ops.sampling import TokenLogprobs, sample, token_logprobs
from pararnn_core.ops.scans import ScanReport, linear_scan, newton_recurrence, newton_recurrence_
from pararnn_core.ops.threads import available_isa_levels, isa_level, num_threads, set_num_threads

__all__ = [
    "MOST_PRODUCT_ROWS",
    "STEP_STAGES",
    "CellSizes",
    "LayerWeights",
    "ModelShape",
    "NativeLibraryMissing",
    "NativeModel",
    "PackedMatrix",
    "ScanReport",
    "TokenLogprobs",
    "WeightFormat",
    "add_rms_norm_",
    "add_scaled",
    "available_isa_levels",
    "build_tag",
    "causal_conv1d_",
    "dequantize",
    "embedding",
    "gated_rms_norm",
    "has_cuda_kernels",
    "huge_page_arena",
    "is_available",
    "isa_level",
    "linear",
    "linear_scan",
    "multiply_add",
    "native_cells",
    "newton_recurrence",
    "newton_recurrence_",
    "num_threads",
    "pack",
    "packed_nbytes",
    "pararnn_model",
    "read_bytes",
    "recurrence",
    "recurrence_",
    "recurrence_backward",
    "rms_norm",
    "row_product",
    "rwkv7_model",
    "sample",
    "set_num_threads",
    "silu_mul",
    "takes_floats",
    "takes_integers",
    "token_logprobs",
    "traced_recurrence",
    "unpack",
]
