"""Which build of the native library runs, and at which level."""

import functools
import hashlib
from pathlib import Path

import torch

from pararnn_core.ops.library import CUDA_LIBRARY_NAME, library_path
from pararnn_core.ops.threads import isa_level


@functools.cache
def build_tag(device_type: str = "cpu") -> str:
    """The same tag, the same bits: 12 digits of the library file's SHA-256 and the instruction set level.

    "reference" where there is no library. On "cuda", whose bits may depend on the batch, torch's version and
    the GPU's name, too.
    """
    path = library_path()
    if path is None:
        return "reference"
    if device_type == "cuda":
        gpu = torch.cuda.get_device_name().replace(" ", "_")
        return f"{_digest(path.with_name(CUDA_LIBRARY_NAME))}-{torch.__version__}-{gpu}"
    return f"{_digest(path)}-{isa_level()}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
