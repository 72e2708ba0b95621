"""The tensors of an RWKV-7 in Hugging Face's layout, declared once.

Letters stand for sizes: d channels, f channels inside of the channel mixing; W, A, V and G ranks of the
decay, the rate, the value's gate and the gate. A vector may have further dimensions in a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

HEAD_SIZE = 64
"""Channels of a head, in native code too."""

Shape = tuple[int, ...]
_LAYER = re.compile(r"model\.layers\.(0|[1-9]\d{0,5})\.")


class LayerTensor(NamedTuple):
    """A tensor of a layer.

    letters: (d,) of a vector, (outputs, inputs) of a matrix
    native: its name in the table of native code (PARARNN_RWKV7_LAYER_TENSORS). Vectors with the same native
        name are the rows of one.
    in_first: the first layer has it
    """

    name: str
    letters: tuple[str, ...]
    native: str
    in_first: bool = True

    @property
    def is_matrix(self) -> bool:
        """True for a matrix, which may be quantised."""
        return len(self.letters) == 2

    def shape(self, sizes: Mapping[str, int]) -> Shape:
        """Return the shape for these sizes."""
        return tuple(sizes[letter] for letter in self.letters)


# Native code takes the tensors in this order.
LAYER = (
    LayerTensor("attn_norm.weight", ("d",), "time_norm_weight"),
    LayerTensor("attn_norm.bias", ("d",), "time_norm_bias"),
    *(LayerTensor(f"attn.x_{each}", ("d",), "mixes") for each in "rwkvag"),
    LayerTensor("attn.r_proj.weight", ("d", "d"), "receptance"),
    LayerTensor("attn.k_proj.weight", ("d", "d"), "key"),
    LayerTensor("attn.v_proj.weight", ("d", "d"), "value"),
    LayerTensor("attn.w_lora.lora.2.bias", ("d",), "decay"),
    LayerTensor("attn.w_lora.lora.0.weight", ("W", "d"), "decay_down"),
    LayerTensor("attn.w_lora.lora.2.weight", ("d", "W"), "decay_up"),
    LayerTensor("attn.a_lora.lora.2.bias", ("d",), "rate"),
    LayerTensor("attn.a_lora.lora.0.weight", ("A", "d"), "rate_down"),
    LayerTensor("attn.a_lora.lora.2.weight", ("d", "A"), "rate_up"),
    LayerTensor("attn.v_lora.lora.2.bias", ("d",), "value_gate", in_first=False),
    LayerTensor("attn.v_lora.lora.0.weight", ("V", "d"), "value_gate_down", in_first=False),
    LayerTensor("attn.v_lora.lora.2.weight", ("d", "V"), "value_gate_up", in_first=False),
    LayerTensor("attn.g_lora.lora.0.weight", ("G", "d"), "gate_down"),
    LayerTensor("attn.g_lora.lora.2.weight", ("d", "G"), "gate_up"),
    LayerTensor("attn.k_k", ("d",), "k_k"),
    LayerTensor("attn.k_a", ("d",), "k_a"),
    LayerTensor("attn.r_k", ("d",), "r_k"),
    LayerTensor("attn.g_norm.weight", ("d",), "head_norm_weight"),
    LayerTensor("attn.g_norm.bias", ("d",), "head_norm_bias"),
    LayerTensor("attn.o_proj.weight", ("d", "d"), "output"),
    LayerTensor("ffn_norm.weight", ("d",), "channel_norm_weight"),
    LayerTensor("ffn_norm.bias", ("d",), "channel_norm_bias"),
    LayerTensor("ffn.x_k", ("d",), "channel_mix"),
    LayerTensor("ffn.key.weight", ("f", "d"), "channel_key"),
    LayerTensor("ffn.value.weight", ("d", "f"), "channel_value"),
)
EMBEDDING, HEAD = "model.embeddings.weight", "lm_head.weight"
FIRST_NORM = ("model.layers.0.pre_norm.weight", "model.layers.0.pre_norm.bias")
FINAL_NORM = ("model.norm.weight", "model.norm.bias")
_OUTSIDE: dict[str, tuple[str, ...]] = {
    EMBEDDING: ("vocabulary", "d"),
    **dict.fromkeys((*FIRST_NORM, *FINAL_NORM), ("d",)),
    HEAD: ("vocabulary", "d"),
}


def layer_name(layer: int, tensor: LayerTensor) -> str:
    """Return the name of a layer's tensor in a checkpoint."""
    return f"model.layers.{layer}.{tensor.name}"


def tensors_of_layer(layer: int) -> Iterator[LayerTensor]:
    """Yield the tensors that a layer has."""
    return (tensor for tensor in LAYER if layer > 0 or tensor.in_first)


def parameter_shapes(sizes: Mapping[str, int], num_layers: int) -> dict[str, Shape]:
    """Return the shapes of all tensors by name, vectors as (n,)."""
    outside = {name: tuple(sizes[letter] for letter in letters) for name, letters in _OUTSIDE.items()}
    return outside | {
        layer_name(i, tensor): tensor.shape(sizes)
        for i in range(num_layers)
        for tensor in tensors_of_layer(i)
    }


def count_parameters(sizes: Mapping[str, int], num_layers: int) -> int:
    """Return the exact number of parameters."""
    return sum(map(math.prod, parameter_shapes(sizes, num_layers).values()))


def num_layers_in(shapes: Mapping[str, Shape]) -> int:
    """Return the number of layers that the names show."""
    return 1 + max((int(match[1]) for name in shapes if (match := _LAYER.match(name))), default=-1)


def letters_in(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Return the sizes, by letter, that the shapes of the second layer and of the embedding show.

    Raises ValueError that names a tensor which is missing or has another number of dimensions.
    """
    # The first layer lacks the gate of the value.
    shown = {EMBEDDING: _OUTSIDE[EMBEDDING]} | {
        layer_name(1, each): each.letters for each in LAYER if each.is_matrix
    }
    sizes: dict[str, int] = {}
    for name, letters in shown.items():
        if len(shapes.get(name, ())) != 2:
            raise ValueError(f"{name} is missing or is no matrix")
        sizes |= zip(letters, shapes[name], strict=True)
    return sizes
