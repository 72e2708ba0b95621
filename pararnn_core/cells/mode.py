"""The names of a cell's modes, and `mode` as an attribute of cells and models."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

MODES = ("auto", "sequential", "parallel", "parallel_cuda", "parallel_fused")


def mode_named(name: Any) -> str:
    """Return the mode of this name in any letter case. Raises ValueError that lists the modes."""
    # The original code spells two of them parallel_CUDA and parallel_FUSED.
    mode = name.lower() if isinstance(name, str) else name
    if mode not in MODES:
        raise ValueError(f"mode: {name!r} is unknown; use one of {', '.join(MODES)}")
    return str(mode)


class HasMode:
    """A `mode` that may be assigned. Assigning a mode to a misspelt name such as `mod` is an error."""

    _mode: str = "auto"

    @property
    def mode(self) -> str:
        """Mode of calls that pass none: one of MODES."""
        return self._mode

    @mode.setter
    def mode(self, name: str) -> None:
        self._mode = mode_named(name)

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module accepts any attribute, so a misspelt one would change nothing silently.
        names_mode = isinstance(value, str) and value.lower() in MODES
        if names_mode and not hasattr(self, name) and get_close_matches(name.lower(), ["mode"], cutoff=0.7):
            raise AttributeError(f"{name}: {type(self).__name__} has no such attribute; did you mean mode?")
        super().__setattr__(name, value)
