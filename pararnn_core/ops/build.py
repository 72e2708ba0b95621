"""Which build of the native library runs, and at which level."""

import functools
import hashlib

from pararnn_core.ops.library import library_path
from pararnn_core.ops.threads import isa_level


@functools.cache
def build_tag() -> str:
    """The same tag, the same bits: 12 digits of the library file's SHA-256 and the instruction set level.

    "reference" where there is no library.
    """
    path = library_path()
    if path is None:
        return "reference"
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}-{isa_level()}"
