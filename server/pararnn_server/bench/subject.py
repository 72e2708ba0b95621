"""Models to measure: a checkpoint, or random weights of a preset's size, made in their format."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pararnn_core.checkpoint import checkpoint_info, load_checkpoint
from pararnn_core.checkpoint.checkpoint_directory import StoredTensor, empty_model, expected_tensors
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import DEFAULT_GROUP_SIZES, QuantizationConfig
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix
from pararnn_server.settings.paths import printable

WEIGHTS = ("f32", "bf16", "int8", "int4")
_BITS = {"int8": 8, "int4": 4}
_NAMES = {"float32": "f32", "bfloat16": "bf16"}
_DRAWN = 1 << 20
_LARGEST_WEIGHT = 0.05


@dataclass(frozen=True)
class Subject:
    """One model in one format. path: where it lies, None for a random one."""

    name: str
    config: ModelConfig
    path: Path | None = None

    @classmethod
    def of_checkpoint(cls, path: Path) -> Subject:
        """Raises CheckpointError for what is none."""
        return cls(printable(path.resolve().name), checkpoint_info(path).config, path)

    @classmethod
    def random(cls, preset: str, weights: str, cell: str = "gru") -> Subject:
        """Raises ValueError for a preset, format or cell that there is not."""
        return cls.random_like(f"random {preset}", ModelConfig.preset(preset, cell), weights)

    @classmethod
    def random_like(cls, name: str, config: ModelConfig, weights: str) -> Subject:
        """config: of float32 weights. Raises ValueError for a format that there is not."""
        if weights not in WEIGHTS:
            raise ValueError(f"weights must be one of {list(WEIGHTS)}, got {weights!r}")
        if weights in _BITS:
            bits = _BITS[weights]
            config = replace(
                config, quantization=QuantizationConfig("round", bits, DEFAULT_GROUP_SIZES[bits])
            )
        elif weights == "bf16":
            config = replace(config, dtype="bfloat16")
        return cls(name, config)

    @property
    def weights(self) -> str:
        """One of WEIGHTS; of a mixed choice the one of most matrices."""
        if self.config.quantization is not None:
            return f"int{self.config.quantization.bits}"
        return _NAMES[self.config.dtype]

    @property
    def label(self) -> str:
        """Name, cell and weights."""
        return f"{self.name} {self.config.cell} {self.weights}"

    @property
    def unit(self) -> str:
        """The matrix rate of the machine that bounds it: floats are multiplied as float32."""
        return "int8" if self.config.quantization is not None else "float32"

    @property
    def num_parameters(self) -> int:
        """All of them, embeddings included."""
        return self.config.num_parameters

    @property
    def body_parameters(self) -> int:
        """Those that every token of a prompt is multiplied with: neither embedding nor head."""
        copies = 1 if self.config.tie_embeddings else 2
        return self.num_parameters - copies * self.head_parameters

    @property
    def head_parameters(self) -> int:
        """V times d."""
        return self.config.vocab_size * self.config.hidden_size

    @property
    def weight_bytes(self) -> int:
        """Stored bytes of all weights."""
        return sum(map(_nbytes, expected_tensors(self.config).values()))

    @property
    def decode_bytes(self) -> int:
        """Stored bytes of the weights that a step reads, whatever its batch: all but the embedding's rows."""
        tied = self.config.tie_embeddings
        return sum(
            _nbytes(tensor)
            for name, tensor in expected_tensors(self.config).items()
            # A tied embedding is the head too, which reads all of it.
            if tied or not name.startswith("embedding.")
        )

    def prefill_operations(self, tokens: int) -> float:
        """2 per body parameter and token; the head is applied to one token only."""
        return 2.0 * (self.body_parameters * tokens + self.head_parameters)

    def decode_operations(self, batch: int) -> float:
        """2 per parameter of body and head and sequence."""
        return 2.0 * batch * (self.body_parameters + self.head_parameters)

    def load(self, *, pack: bool = True, device: str | torch.device = "cpu") -> ParaRNNForCausalLM:
        """Ready to serve, unless pack is False. Random weights are the same in every call, on any device."""
        if self.path is not None:
            return load_checkpoint(self.path, device, pack=pack, verify=False)
        model = _random_model(self.config, torch.device(device))
        return model.pack() if pack else model


def _random_model(config: ModelConfig, device: torch.device) -> ParaRNNForCausalLM:
    """Never holds more than the weights in their own format."""
    source = _Numbers(device)
    model = empty_model(config)
    qweight = torch.empty(0)
    # By name, integers come before their scales, with which they make one matrix.
    for name, tensor in sorted(expected_tensors(config).items()):
        values = source.tensor(name, tensor)
        if name.endswith(QWEIGHT):
            qweight = values
        elif name.endswith(SCALES):
            matrix = name.removesuffix(SCALES)
            model.set_weight(matrix, _quantized(config, matrix, qweight, values))
        else:
            model.set_weight(name, values)
    return model.eval()


def _quantized(
    config: ModelConfig, name: str, qweight: torch.Tensor, scales: torch.Tensor
) -> QuantizedMatrix:
    if config.quantization is None:
        raise ValueError(f"{name}: the config says nothing of integers")
    its = config.quantization.format_of(name)
    inputs = qweight.shape[1] * (2 if its.bits == 4 else 1)
    return QuantizedMatrix(qweight, scales, its.bits, its.group_size, inputs)


class _Numbers:
    """The same million of random numbers again and again: drawing billions would take minutes."""

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self._uniform = (torch.rand(_DRAWN, generator=generator) * 2 - 1).to(device)
        signed = torch.randint(-127, 128, (_DRAWN,), generator=generator, dtype=torch.int8)
        self._signed = signed.to(device)
        self._bytes = torch.randint(256, (_DRAWN,), generator=generator, dtype=torch.uint8).to(device)

    def tensor(self, name: str, like: StoredTensor) -> torch.Tensor:
        dtype = getattr(torch, like.dtype)
        if name.endswith(("norm.weight", "residual_scale")):
            return torch.ones(like.shape, dtype=dtype, device=self._uniform.device)
        if dtype in (torch.int8, torch.uint8):
            return self._filled(self._signed if dtype == torch.int8 else self._bytes, like.shape)
        largest = _LARGEST_WEIGHT / 127 if name.endswith(SCALES) else _LARGEST_WEIGHT
        return self._filled((self._uniform * largest).to(dtype), like.shape)

    def _filled(self, source: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        count = math.prod(shape)
        out = torch.empty(count, dtype=source.dtype, device=source.device)
        for start in range(0, count, _DRAWN):
            part = out[start : start + _DRAWN]
            part.copy_(source[: len(part)])
        return out.view(shape)


def _nbytes(tensor: StoredTensor) -> int:
    return int(math.prod(tensor.shape)) * int(getattr(torch, tensor.dtype).itemsize)
