"""A small RWKV-7 with random weights, and the same mathematics in float64, one token after the other."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import EMBEDDING, FINAL_NORM, FIRST_NORM, HEAD, parameter_shapes
from pararnn_core.models.rwkv7.packed import Rwkv7Model
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.fixtures import CHAT_TEMPLATE, TINY_VOCAB_SIZE, tiny_tokenizer

CONFIG = Rwkv7Config(
    vocab_size=TINY_VOCAB_SIZE,
    hidden_size=128,
    num_hidden_layers=3,
    intermediate_size=384,
    decay_rank=32,
    rate_rank=24,
    value_gate_rank=16,
    gate_rank=48,
    dtype="float32",
)


def random_weights(config: Rwkv7Config = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """Weights as a trained model has them: norms near 1, mixes between 0 and 1, narrow matrices."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in parameter_shapes(config.sizes, config.num_hidden_layers).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight") or name.endswith((".k_k", ".k_a")):
            value = 1 + 0.3 * value
        elif ".x_" in name:
            value = torch.rand(shape, generator=generator)
        elif len(shape) == 2 and name != EMBEDDING:
            value = value / math.sqrt(shape[1])
        else:
            value = 0.3 * value
        weights[name] = value
    return weights


def model_of(weights: dict[str, Tensor | QuantizedMatrix], config: Rwkv7Config = CONFIG) -> Rwkv7Model:
    """Return the serving form of these weights."""
    model = Rwkv7Model(config, weights)
    for name, weight in weights.items():
        model.set_weight(name, weight)
    return model.finish("0" * 64)


@dataclass
class _State:
    heads: Tensor
    time: Tensor
    channel: Tensor


@dataclass
class Reference:
    """The forward pass in float64."""

    weights: dict[str, Tensor]
    config: Rwkv7Config = CONFIG
    states: list[_State] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = {name: weight.double() for name, weight in self.weights.items()}
        h, d = self.config.num_heads, self.config.hidden_size
        zeros = torch.zeros
        for _ in range(self.config.num_hidden_layers):
            self.states.append(_State(zeros(h, 64, 64).double(), zeros(d).double(), zeros(d).double()))

    def logits(self, tokens: list[int]) -> Tensor:
        """Return the logits (T, V) after each token."""
        return torch.stack([self._step(token) for token in tokens])

    def _step(self, token: int) -> Tensor:
        x = self._norm(self.weights[EMBEDDING][token], FIRST_NORM)
        first_value: Tensor | None = None
        for layer, state in enumerate(self.states):
            x, first_value = self._layer(x, f"model.layers.{layer}.", state, first_value)
        return self.weights[HEAD] @ self._norm(x, FINAL_NORM)

    def _layer(
        self, x: Tensor, prefix: str, state: _State, first_value: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        w = {name.removeprefix(prefix): t for name, t in self.weights.items() if name.startswith(prefix)}
        h = F.layer_norm(x, x.shape, w["attn_norm.weight"], w["attn_norm.bias"])
        mixed = {each: h + (state.time - h) * w[f"attn.x_{each}"] for each in "rwkvag"}
        state.time = h

        def low(name: str, row: Tensor, activation: object = None) -> Tensor:
            inner = w[f"attn.{name}_lora.lora.0.weight"] @ row
            inner = inner if activation is None else activation(inner)  # type: ignore[operator]
            return w[f"attn.{name}_lora.lora.2.weight"] @ inner + w.get(f"attn.{name}_lora.lora.2.bias", 0)

        r, k, v = (w[f"attn.{each}_proj.weight"] @ mixed[each] for each in "rkv")
        decay = torch.exp(-math.exp(-0.5) * torch.sigmoid(low("w", mixed["w"], torch.tanh)))
        rate = torch.sigmoid(low("a", mixed["a"]))
        gate = low("g", mixed["g"], torch.sigmoid)
        if first_value is None:
            first_value = v
        else:
            v = v + (first_value - v) * torch.sigmoid(low("v", mixed["v"]))

        def heads(t: Tensor) -> Tensor:
            return t.view(-1, 64)

        removed = F.normalize(heads(k * w["attn.k_k"]), dim=1)
        k = k * (1 + (rate - 1) * w["attn.k_a"])
        # (head, value, key)
        held = torch.einsum("hvk,hk->hv", state.heads, removed)
        state.heads = (
            state.heads * heads(decay)[:, None, :]
            - held[:, :, None] * (removed * heads(rate))[:, None, :]
            + heads(v)[:, :, None] * heads(k)[:, None, :]
        )
        read = torch.einsum("hvk,hk->hv", state.heads, heads(r)).flatten()
        read = F.group_norm(
            read[None], self.config.num_heads, w["attn.g_norm.weight"], w["attn.g_norm.bias"], eps=64e-5
        )[0]
        bonus = (heads(r) * heads(k) * heads(w["attn.r_k"])).sum(1, keepdim=True)
        read = read + (bonus * heads(v)).flatten()
        x = x + w["attn.o_proj.weight"] @ (read * gate)
        h = F.layer_norm(x, x.shape, w["ffn_norm.weight"], w["ffn_norm.bias"])
        mixed_h = h + (state.channel - h) * w["ffn.x_k"]
        state.channel = h
        return x + w["ffn.value.weight"] @ torch.relu(w["ffn.key.weight"] @ mixed_h) ** 2, first_value

    def _norm(self, x: Tensor, names: tuple[str, str]) -> Tensor:
        weight, bias = (self.weights[name] for name in names)
        return F.layer_norm(x, x.shape, weight, bias)


def in_format(weights: dict[str, Tensor], weight_format: str) -> dict[str, Tensor | QuantizedMatrix]:
    """Return the weights with their matrices as float32, bfloat16, int8 or int4."""
    return {
        name: _in_format(weight, weight_format) if weight.dim() == 2 else weight
        for name, weight in weights.items()
    }


def _in_format(weight: Tensor, weight_format: str) -> Tensor | QuantizedMatrix:
    if weight_format in ("float32", "bfloat16"):
        return weight.to(getattr(torch, weight_format))
    bits = int(weight_format.removeprefix("int"))
    return round_matrix(weight, MatrixFormat(bits, 32))


def widened(weights: dict[str, Tensor | QuantizedMatrix]) -> dict[str, Tensor]:
    """Return the same weights in float32."""
    return {
        name: weight.dequantize() if isinstance(weight, QuantizedMatrix) else weight.float()
        for name, weight in weights.items()
    }


def checkpoint(path: Path, weight_format: str = "float32", seed: int = 0) -> Path:
    """A directory in Hugging Face's layout, with the tokenizer and template of the tests; returns `path`."""
    path.mkdir()
    weights = in_format(random_weights(seed=seed), weight_format)
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        tensors |= (
            dict(weight.stored(name))
            if isinstance(weight, QuantizedMatrix)
            else {name: _as_saved(name, weight)}
        )
    save_file(tensors, path / "model.safetensors")
    fields: dict[str, object] = {
        "model_type": "rwkv7",
        "architectures": ["RWKV7ForCausalLM"],
        "hidden_size": CONFIG.hidden_size,
        "num_hidden_layers": CONFIG.num_hidden_layers,
        "head_dim": 64,
        "vocab_size": CONFIG.vocab_size,
        "bos_token_id": TINY_VOCAB_SIZE - 4,
        "eos_token_id": TINY_VOCAB_SIZE - 3,
    }
    if weight_format.startswith("int"):
        bits = int(weight_format.removeprefix("int"))
        fields["quantization_config"] = {"method": "round", "bits": bits, "group_size": 32}
    (path / "config.json").write_text(json.dumps(fields))
    tiny_tokenizer().save(str(path / "tokenizer.json"))
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    names = {"bos_token": "<|bos|>", "eos_token": "<|eos|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(names))
    return path


def _as_saved(name: str, weight: Tensor) -> Tensor:
    """Return a tensor with the dimensions that files have."""
    if ".x_" in name:
        return weight.view(1, 1, -1)
    return weight.view(-1, 64) if name.endswith(".r_k") else weight
