"""Sizes of llama.cpp's constant-memory models: published ones, or with our width if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FORMATS = ("bf16", "q8_0", "q4_0")


@dataclass(frozen=True)
class Tensor:
    """A tensor. shape: outputs first, as in numpy; low, high: bounds of its random values.

    A matrix is stored in the model's format, other tensors in float32.
    """

    name: str
    shape: tuple[int, ...]
    low: float = -0.05
    high: float = 0.05
    is_matrix: bool = False


@dataclass(frozen=True)
class Size:
    """The size of a model. beside: our preset that it is compared with."""

    architecture: str
    label: str
    beside: str
    width: int
    layers: int
    vocab_size: int

    @property
    def name(self) -> str:
        """Architecture and parameters."""
        return f"{self.architecture} {self.label}"

    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors. The head of a mamba2 is its embedding, as published."""
        d, vocab = self.width, self.vocab_size
        yield _matrix("token_embd.weight", vocab, d)
        yield _around_one("output_norm.weight", d)
        if self.architecture == "mamba2":
            for i in range(self.layers):
                yield from _mamba2_layer(f"blk.{i}.", d)
            return
        yield from _layer_norm("token_embd_norm", d)
        yield Tensor("output_norm.bias", (d,))
        yield _matrix("output.weight", vocab, d)
        for i in range(self.layers):
            yield from _rwkv7_layer(f"blk.{i}.", d, lora_ranks(d))


SIZES = (
    Size("mamba2", "25M", "25m", 384, 22, 8192),
    Size("rwkv7", "25M", "25m", 384, 11, 8192),
    Size("mamba2", "130M", "130m", 768, 24, 50288),
    Size("rwkv7", "170M", "130m", 768, 12, 65536),
    Size("mamba2", "370M", "406m", 1024, 48, 50288),
    Size("rwkv7", "430M", "406m", 1024, 24, 65536),
    Size("mamba2", "1.3B", "1.4b", 2048, 48, 50288),
    Size("rwkv7", "1.5B", "1.4b", 2048, 24, 65536),
)

STATE_SIZE, CONV_WIDTH, HEAD_SIZE = 128, 4, 64


@dataclass(frozen=True)
class LoraRanks:
    """Inner sizes of the low-rank products of an RWKV-7."""

    decay: int
    iclr: int
    value: int
    gate: int


def lora_ranks(width: int) -> LoraRanks:
    """Return the ranks of published models of this width."""
    return LoraRanks(96, 96, 64, 256) if width >= 2048 else LoraRanks(64, 64, 32, 128)


def _mamba2_layer(prefix: str, d: int) -> Iterator[Tensor]:
    inner = 2 * d
    heads, mixed = inner // HEAD_SIZE, inner + 2 * STATE_SIZE
    yield _around_one(f"{prefix}attn_norm.weight", d)
    yield _matrix(f"{prefix}ssm_in.weight", inner + mixed + heads, d)
    yield Tensor(f"{prefix}ssm_conv1d.weight", (mixed, CONV_WIDTH))
    yield Tensor(f"{prefix}ssm_conv1d.bias", (mixed,))
    yield Tensor(f"{prefix}ssm_dt.bias", (heads,), -5, -2)
    yield Tensor(f"{prefix}ssm_a", (heads, 1), -16, -1)
    yield Tensor(f"{prefix}ssm_d", (heads, 1), 0.9, 1.1)
    yield Tensor(f"{prefix}ssm_norm.weight", (1, inner), 0.9, 1.1)
    yield _matrix(f"{prefix}ssm_out.weight", d, inner)


def _rwkv7_layer(prefix: str, d: int, ranks: LoraRanks) -> Iterator[Tensor]:
    value_rank = ranks.iclr if prefix == "blk.0." else ranks.value
    yield from _layer_norm(f"{prefix}attn_norm", d)
    yield from _layer_norm(f"{prefix}attn_norm_2", d)
    for letter, rank, low, high in (
        ("w", ranks.decay, -6, -1),
        ("a", ranks.iclr, -0.1, 0.1),
        ("v", value_rank, -0.1, 0.1),
    ):
        yield Tensor(f"{prefix}time_mix_{letter}0.weight", (d,), low, high)
        yield from _low_rank(f"{prefix}time_mix_{letter}", d, rank)
    yield from _low_rank(f"{prefix}time_mix_g", d, ranks.gate)
    yield Tensor(f"{prefix}time_mix_lerp_fused.weight", (6, 1, 1, d), 0, 1)
    for name in ("k_k", "k_a", "r_k"):
        yield Tensor(f"{prefix}time_mix_{name}.weight", (d,), 0, 1)
    for name in ("key", "value", "receptance", "output"):
        yield _matrix(f"{prefix}time_mix_{name}.weight", d, d)
    yield from _layer_norm(f"{prefix}time_mix_ln", d)
    yield Tensor(f"{prefix}channel_mix_lerp_k.weight", (1, 1, d), 0, 1)
    yield _matrix(f"{prefix}channel_mix_key.weight", 4 * d, d)
    yield _matrix(f"{prefix}channel_mix_value.weight", d, 4 * d)


def _low_rank(prefix: str, d: int, rank: int) -> Iterator[Tensor]:
    yield _matrix(f"{prefix}1.weight", rank, d)
    yield _matrix(f"{prefix}2.weight", d, rank)


def _layer_norm(name: str, d: int) -> Iterator[Tensor]:
    yield _around_one(f"{name}.weight", d)
    yield Tensor(f"{name}.bias", (d,))


def _around_one(name: str, size: int) -> Tensor:
    return Tensor(name, (size,), 0.9, 1.1)


def _matrix(name: str, outputs: int, inputs: int) -> Tensor:
    return Tensor(name, (outputs, inputs), is_matrix=True)
