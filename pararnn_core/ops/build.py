"""The tag of the native library's build and instruction set level."""

import functools
import hashlib
from pathlib import Path

import torch

from pararnn_core.ops.library import CUDA_LIBRARY_NAME, library_path
from pararnn_core.ops.threads import isa_level


@functools.cache
def build_tag(device_type: str = "cpu") -> str:
    """Return a tag. Processes with the same tag compute the same bits on a CPU.

    It has 12 digits of the library file's SHA-256 and the instruction set level; "reference" without a
    library. On "cuda" it has torch's version and the GPU's name, and bits may depend on the batch.
    """
    path = library_path()
    if path is None:
        return "reference"
    if device_type == "cuda":
        # Torch computes the products of many rows, so bits depend on its version and on the GPU.
        gpu = torch.cuda.get_device_name().replace(" ", "_")
        return f"{_digest(path.with_name(CUDA_LIBRARY_NAME))}-{torch.__version__}-{gpu}"
    return f"{_digest(path)}-{isa_level()}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
