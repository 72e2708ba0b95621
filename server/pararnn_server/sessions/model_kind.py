"""The model and the build that a state belongs to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pararnn_core import ops
from pararnn_core.models.base import ServingConfig
from pararnn_core.state import StateParts, parts_bytes


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A model as states depend on it.

    name: as clients know it. fingerprint: of config, tokenizer and weights. tokenizer: hash of its file.
    chat_template: hash of its source; "" for none.
    config: as served, with the activation dtype of the device, on which a state's bytes depend.
    build: of the native library and its instruction set level or GPU.
    parts: the layout of a state.
    """

    # A state of another build can be resumed, but its last bits may differ from those of this one.

    name: str
    config: ServingConfig
    fingerprint: str
    tokenizer: str
    build: str
    parts: StateParts
    chat_template: str = ""

    @property
    def system_fingerprint(self) -> str:
        """Name of all that the bits of an answer depend on: model, types, build and instruction set."""
        parts = f"{self.fingerprint}\n{self.config!r}\n{self.build}"
        return f"fp_{hashlib.sha256(parts.encode()).hexdigest()[:16]}"

    @property
    def state_bytes(self) -> int:
        """Bytes of one session's state."""
        return parts_bytes(self.parts)


def model_kind(
    name: str,
    config: ServingConfig,
    parts: StateParts,
    fingerprint: str | None = None,
    tokenizer: str = "",
    device_type: str = "cpu",
    chat_template: str | None = None,
) -> ModelKind:
    """Return the kind of a model. Its sizes stand in for a fingerprint if it was made in memory.

    chat_template: its source; None for none.
    """
    stand_in = hashlib.sha256(repr(config).encode()).hexdigest()
    build = ops.build_tag(device_type)
    template = "" if chat_template is None else hashlib.sha256(chat_template.encode()).hexdigest()
    return ModelKind(name, config, fingerprint or stand_in, tokenizer, build, parts, template)
