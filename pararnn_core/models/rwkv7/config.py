"""The sizes of an RWKV-7, from config.json and the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pararnn_core.models.rwkv7.layer_tensors import (
    HEAD_SIZE,
    Shape,
    count_parameters,
    letters_in,
    num_layers_in,
)

MODEL_TYPE = "rwkv7"


@dataclass(frozen=True, kw_only=True)
class Rwkv7Config:
    """The sizes of a model. Raises ValueError naming the field that has a wrong value.

    intermediate_size: channels inside of the channel mixing
    *_rank: of the pairs of narrow matrices that give decay, learning rate, gate of the value and gate
    dtype: type of the matrices, float32 or bfloat16; bits: of quantised matrices, None if they are floats
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    decay_rank: int
    rate_rank: int
    value_gate_rank: int
    gate_rank: int
    norm_eps: float = 1e-5
    dtype: str = "bfloat16"
    bits: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"no size may be 0, but {name} is")
        if self.hidden_size % HEAD_SIZE:
            raise ValueError(f"hidden_size must be a multiple of {HEAD_SIZE}, got {self.hidden_size}")
        if type(self.norm_eps) not in (int, float) or not 0 < self.norm_eps < 1:
            raise ValueError(f"norm_eps must be between 0 and 1, got {self.norm_eps!r}")

    @property
    def head_norm_eps(self) -> float:
        """The epsilon of the norm of each head, which no config holds."""
        return HEAD_SIZE * 1e-5

    @property
    def num_heads(self) -> int:
        """Heads of a layer, each with a state of 64 x 64."""
        return self.hidden_size // HEAD_SIZE

    @property
    def architecture(self) -> str:
        """The name that users know."""
        return "RWKV-7"

    @property
    def num_parameters(self) -> int:
        """The exact number of parameters."""
        return count_parameters(self.sizes, self.num_hidden_layers)

    @property
    def weight_type(self) -> str:
        """The type of the matrices: float32, bfloat16, or integers such as int8."""
        return self.dtype if self.bits is None else f"int{self.bits}"

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the tensors, by the letters that layer_tensors uses."""
        return {
            "d": self.hidden_size,
            "f": self.intermediate_size,
            "W": self.decay_rank,
            "A": self.rate_rank,
            "V": self.value_gate_rank,
            "G": self.gate_rank,
            "vocabulary": self.vocab_size,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, with the architecture as config.json names it."""
        return {"model_type": MODEL_TYPE, **asdict(self)}

    def hub_fields(self) -> dict[str, Any]:
        """Return config.json as Hugging Face's layout has it."""
        return {
            "model_type": MODEL_TYPE,
            "architectures": ["RWKV7ForCausalLM"],
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "intermediate_size": self.intermediate_size,
            "head_dim": HEAD_SIZE,
            "decay_low_rank_dim": self.decay_rank,
            "a_low_rank_dim": self.rate_rank,
            "v_low_rank_dim": self.value_gate_rank,
            "gate_low_rank_dim": self.gate_rank,
            "norm_eps": self.norm_eps,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }

    @classmethod
    def of_checkpoint(cls, fields: Mapping[str, Any], shapes: Mapping[str, Shape], dtype: str) -> Rwkv7Config:
        """Make a config. Raises ValueError that names a wrong field, or a tensor that is missing.

        fields: config.json. Its sizes, where it has them, must be those of the shapes.
        """
        letters = letters_in(shapes)
        layers = num_layers_in(shapes)
        # The names of all layers are made later. A file that names one layer far out must not get that far.
        if layers > len(shapes):
            raise ValueError(
                f"the tensors name a layer {layers - 1}, but there are only {len(shapes)} of them"
            )
        config = cls(
            vocab_size=letters["vocabulary"],
            hidden_size=letters["d"],
            num_hidden_layers=layers,
            intermediate_size=letters["f"],
            decay_rank=letters["W"],
            rate_rank=letters["A"],
            value_gate_rank=letters["V"],
            gate_rank=letters["G"],
            norm_eps=fields.get("norm_eps", 1e-5),
            dtype=dtype,
            bos_token_id=_token(fields, "bos_token_id", letters["vocabulary"]),
            eos_token_id=_token(fields, "eos_token_id", letters["vocabulary"]),
        )
        for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
            if fields.get(name, getattr(config, name)) != getattr(config, name):
                raise ValueError(f"{name} is {fields[name]!r}, but the tensors have {getattr(config, name)}")
        if fields.get("head_dim", HEAD_SIZE) != HEAD_SIZE:
            raise ValueError(f"head_dim must be {HEAD_SIZE}, got {fields['head_dim']!r}")
        return config


def _token(fields: Mapping[str, Any], name: str, vocab_size: int) -> int | None:
    value = fields.get(name)
    value = next(iter(value), None) if isinstance(value, list) else value
    if value is not None and (type(value) is not int or not 0 <= value < vocab_size):
        raise ValueError(f"{name} must be an id below {vocab_size}, got {value!r:.40}")
    return value
