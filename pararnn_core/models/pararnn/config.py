"""The config of a model: a frozen dataclass, which is read from and written to `config.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pararnn_core.cells import CELLS, Cell
from pararnn_core.models.pararnn.layer_tensors import count_parameters, matrices_of_a_layer
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig

MODEL_TYPE = "pararnn"
MAX_CONV_KERNEL = 8
_QUANTIZATION = "quantization_config"
# Transformers writes these keys into every config.json. They do not describe the model.
_OF_THE_HUB = frozenset({"_name_or_path", "architectures", "auto_map", "transformers_version", "use_cache"})

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "cell": tuple(CELLS),
    "conv_activation": ("silu", "none"),
    "gate_order": ("gate_then_norm", "norm_then_gate", "norm_only", "none"),
    "norm": ("rms", "none"),
    "residual_scale": ("scalar", "none"),
    "activation_dtype": ("float32", "bfloat16", None),
    "dtype": ("float32", "bfloat16"),
}
PRESETS: dict[str, dict[str, Any]] = {
    "25m": {"hidden_size": 384, "num_hidden_layers": 10, "num_heads": 4, "vocab_size": 8192},
    "130m": {"hidden_size": 768, "num_hidden_layers": 12, "num_heads": 4, "vocab_size": 32768},
    "406m": {"hidden_size": 1024, "num_hidden_layers": 24, "num_heads": 4, "vocab_size": 50432},
    "1.4b": {"hidden_size": 2048, "num_hidden_layers": 24, "num_heads": 4, "vocab_size": 50432},
    "2.9b": {"hidden_size": 2560, "num_hidden_layers": 32, "num_heads": 2, "vocab_size": 50432},
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_heads": 4, "vocab_size": 50432},
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes and choices of a model. Raises ValueError naming the field that has a wrong value.

    Letters elsewhere: hidden_size d (also D, the state channels of a layer), num_hidden_layers L,
    num_heads H, conv_kernel K.
    Block options: conv_kernel 0 has no convolution, and intermediate_size 0 no MLP.
    gate_order "norm_only" has no gate, and "none" no norm after the cell either. norm "none" has no other
    norms. projections False has neither in_proj nor out_proj. mixer_residual False replaces the residual
    stream by the mixer's result.
    activation_dtype: None is the device's default, float32 on a CPU and bfloat16 on CUDA
    dtype: type of the saved weights; in a quantised model that of the other tensors, always float32
    """

    cell: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_heads: int
    conv_kernel: int = 4
    conv_activation: str = "silu"
    gate_order: str = "gate_then_norm"
    residual_scale: str = "scalar"
    mlp_residual: bool = True
    intermediate_size: int | None = None
    norm_eps: float = 1e-6
    tie_embeddings: bool = False
    recurrent_clip: float | None = None
    activation_dtype: str | None = None
    dtype: str = "float32"
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    norm: str = "rms"
    projections: bool = True
    mixer_residual: bool = True
    head_bias: bool = False
    quantization: QuantizationConfig | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {list(choices)}, got {getattr(self, name)!r}")
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_heads"):
            _check_int(name, getattr(self, name), minimum=1)
        if type(self.conv_kernel) is not int or self.conv_kernel != 0:
            _check_int("conv_kernel (if not 0, for no convolution)", self.conv_kernel, minimum=2)
        if self.conv_kernel > MAX_CONV_KERNEL:
            raise ValueError(f"conv_kernel must be at most {MAX_CONV_KERNEL}, got {self.conv_kernel}")
        if self.intermediate_size is not None:
            _check_int("intermediate_size", self.intermediate_size, minimum=0)
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and {self.num_heads}"
            )
        for name in ("mlp_residual", "tie_embeddings", "projections", "mixer_residual", "head_bias"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        self._check_block()
        _check_positive("norm_eps", self.norm_eps)
        if self.recurrent_clip is not None:
            _check_positive("recurrent_clip", self.recurrent_clip)
        for name in ("bos_token_id", "eos_token_id"):
            self._check_token(name)
        self._check_quantization()

    def _check_block(self) -> None:
        """Check the block options that depend on one another."""
        if self.has_gate and not self.projections:
            raise ValueError("projections must be true for a gate: set gate_order to 'norm_only' or 'none'")
        if not self.mixer_residual and self.residual_scale != "none":
            raise ValueError("residual_scale must be 'none' without a mixer_residual")
        if self.intermediate_size == 0 and not self.mlp_residual:
            raise ValueError("mlp_residual must be true without an MLP (intermediate_size 0)")
        if self.head_bias and self.tie_embeddings:
            raise ValueError("tie_embeddings must be false with a head_bias")

    def _check_quantization(self) -> None:
        if self.quantization is None:
            return
        if not isinstance(self.quantization, QuantizationConfig):
            raise ValueError(f"quantization must be a QuantizationConfig, got {self.quantization!r:.80}")
        if self.dtype != "float32":
            raise ValueError(f"dtype must be 'float32' beside a quantization_config, got {self.dtype!r}")
        try:
            self.quantization.check_names(
                self.num_hidden_layers, self.tie_embeddings, self.matrices_of_a_layer
            )
        except ValueError as error:
            raise ValueError(f"quantization_config: {error}") from None

    def _check_token(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        _check_int(name, value, minimum=0)
        if value >= self.vocab_size:
            raise ValueError(f"{name} must be below vocab_size {self.vocab_size}, got {value}")

    @property
    def cell_type(self) -> type[Cell]:
        """The class of the cell, which has the numbers of gates, states and peepholes."""
        return CELLS[self.cell]

    @property
    def architecture(self) -> str:
        """The name of the cell's class."""
        return self.cell_type.__name__

    @property
    def num_parameters(self) -> int:
        """The exact number of parameters, counted without building the model."""
        return count_parameters(self.sizes, self.num_hidden_layers, self.tie_embeddings)

    @property
    def weight_type(self) -> str:
        """The type of the weights: float32, bfloat16, or integers such as int8."""
        return self.dtype if self.quantization is None else f"int{self.quantization.bits}"

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the tensors, by the letters that layer_tensors uses."""
        d, heads, cell = self.hidden_size, self.num_heads, self.cell_type
        normed = d if self.norm == "rms" else 0
        return {
            "d": d,
            "n": normed,
            "q": normed if self.mlp_hidden_size else 0,
            "g": d if self.gate_order != "none" else 0,
            "i": (2 * d if self.has_gate else d) if self.projections else 0,
            "o": d if self.projections else 0,
            "c": d if self.conv_kernel else 0,
            "v": self.vocab_size if self.head_bias else 0,
            "d/H": d // heads,
            "H": heads,
            "G": cell.num_gates,
            "R": cell.recurrent_rows(),
            "P": cell.num_peepholes,
            "K": self.conv_kernel,
            "S": 1 if self.residual_scale == "scalar" else 0,
            "m": self.mlp_hidden_size,
            "V": self.vocab_size,
        }

    @property
    def has_gate(self) -> bool:
        """True if the mixer has a gate."""
        return self.gate_order in ("gate_then_norm", "norm_then_gate")

    @property
    def matrices_of_a_layer(self) -> tuple[str, ...]:
        """The names of a layer's matrices, in the order of use."""
        return matrices_of_a_layer(self.sizes)

    @property
    def mlp_hidden_size(self) -> int:
        """Channels of the MLP, 0 without one: `intermediate_size`, or 8d/3 as a multiple of 256."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return 256 * math.ceil(8 * self.hidden_size // 3 / 256)

    def activation_dtype_on(self, device_type: str) -> str:
        """Return `activation_dtype`, or the device's default if it is None: "float32" or "bfloat16"."""
        return self.activation_dtype or ("bfloat16" if device_type == "cuda" else "float32")

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of `config.json`, which `from_dict` reads."""
        values = {"model_type": MODEL_TYPE, **asdict(self)}
        del values["quantization"]
        # A fingerprint covers these fields. It stays that of checkpoints written before the options existed.
        for name in _BLOCK_OPTIONS:
            if values[name] == _DEFAULTS[name]:
                del values[name]
        return values if self.quantization is None else values | {_QUANTIZATION: self.quantization.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Make a config. Raises ValueError that names a wrong model_type, an unknown key or a missing one.

        As in other configs of the Hub, torch_dtype is another name of dtype, and eos_token_id may be a list.
        The config keeps the list's first id; the function `eos_token_ids` returns all of them.
        """
        if data.get("model_type") != MODEL_TYPE:
            raise ValueError(f"model_type must be {MODEL_TYPE!r}, got {data.get('model_type')!r}")
        values = {key: value for key, value in data.items() if key not in ("model_type", _QUANTIZATION)}
        values = _without_keys_of_the_hub(values, quantized=_QUANTIZATION in data)
        # A file says quantization_config; quantization is only the name of the field here.
        unknown = sorted(
            values.keys() - {field.name for field in fields(cls)} | values.keys() & {"quantization"}
        )
        if unknown:
            raise ValueError(f"unknown configuration keys: {', '.join(unknown)}")
        required = ("cell", "vocab_size", "hidden_size", "num_hidden_layers", "num_heads")
        missing = [name for name in required if name not in values]
        if missing:
            raise ValueError(f"missing configuration keys: {', '.join(missing)}")
        if _QUANTIZATION in data:
            values["quantization"] = QuantizationConfig.from_dict(data[_QUANTIZATION])
        return cls(**values)

    @classmethod
    def preset(cls, name: str, cell: str = "gru") -> ModelConfig:
        """Return a preset: 25m, 130m, 406m, 1.4b, 2.9b or 7b. The last four are those of the paper."""
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {list(PRESETS)}, got {name!r}")
        return cls(cell=cell, **PRESETS[name])


_BLOCK_OPTIONS = ("norm", "projections", "mixer_residual", "head_bias")
_DEFAULTS = {field.name: field.default for field in fields(ModelConfig)}


def eos_token_ids(data: Mapping[str, Any]) -> tuple[int, ...]:
    """Return all EOS ids of a config.json or generation_config.json. Raises ValueError for other values."""
    entry = data.get("eos_token_id")
    ids = entry if isinstance(entry, list) else [] if entry is None else [entry]
    if not all(type(token) is int and token >= 0 for token in ids):
        raise ValueError(f"eos_token_id must be an id or a list of ids, got {entry!r:.80}")
    return tuple(ids)


def _without_keys_of_the_hub(values: Mapping[str, Any], *, quantized: bool) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in _OF_THE_HUB}
    torch_dtype = kept.pop("torch_dtype", None)
    # In a quantised checkpoint torch_dtype is the type of activations, which depends on the device here.
    if torch_dtype is not None and not quantized and kept.setdefault("dtype", torch_dtype) != torch_dtype:
        raise ValueError(f"dtype is {kept['dtype']!r} and torch_dtype {torch_dtype!r}: they must be equal")
    if isinstance(kept.get("eos_token_id"), list):
        kept["eos_token_id"] = next(iter(eos_token_ids(kept)), None)
    return kept


def _check_int(name: str, value: object, minimum: int) -> None:
    # isinstance would accept true and false.
    if type(value) is not int or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")


def _check_positive(name: str, value: object) -> None:
    # In Python true and false are integers too.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]  # number checked it
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
