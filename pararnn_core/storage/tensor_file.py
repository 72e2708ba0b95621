"""Writing of safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from stat import S_IMODE

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a new file whose mode follows the umask, as that of any file does."""
    path.touch()
    mode = S_IMODE(path.stat().st_mode)
    # safetensors puts a file in its place that only its owner may read.
    save_file(dict(tensors), path, metadata={"format": "pt"})
    path.chmod(mode)
