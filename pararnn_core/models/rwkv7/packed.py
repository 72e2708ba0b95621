"""The serving form of an RWKV-7 on a CPU: weights packed for this machine, all arithmetic in native code.

Prefill runs the same rows as decoding, one after the other, so its chunks do not change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.models.cpu_model import CpuModel
from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import (
    EMBEDDING,
    FINAL_NORM,
    FIRST_NORM,
    HEAD,
    LAYER,
    layer_name,
    tensors_of_layer,
)
from pararnn_core.models.rwkv7.state_layout import LAST_HIDDEN, state_parts
from pararnn_core.ops import PackedMatrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

Weight = Tensor | QuantizedMatrix


class Rwkv7Model(CpuModel):
    """The ServingModel of an RWKV-7. Make one, `set_weight` every tensor, then `finish`."""

    def __init__(self, config: Rwkv7Config, matrices: Mapping[str, Weight]) -> None:
        """matrices: by name, of final shape and type; their values do not matter."""
        self.config: Rwkv7Config = config
        self._places, size = _places(config, matrices)
        self.arena = ops.huge_page_arena(size)
        self._matrices: dict[str, PackedMatrix] = {}
        self._vectors: dict[str, Tensor] = {}

    @torch.inference_mode()
    def set_weight(self, name: str, weight: Weight) -> None:
        """Pack a matrix into the arena, or keep a vector as float32 (n,)."""
        if name in self._places:
            self._matrices[name] = ops.pack(weight, out=self.arena[self._places[name]])
        else:
            assert isinstance(weight, Tensor)
            self._vectors[name] = weight.to(torch.float32).flatten().contiguous()

    def finish(self, fingerprint: str | None = None) -> Rwkv7Model:
        """Return this model, ready to serve."""
        config = self.config
        # Native code expects the tensors in this order.
        tensors: list[Tensor | PackedMatrix] = [
            self._matrices[EMBEDDING],
            *map(self._vectors.__getitem__, FIRST_NORM),
        ]
        for layer in range(config.num_hidden_layers):
            tensors.extend(self._of_layer(layer))
        tensors += [*map(self._vectors.__getitem__, FINAL_NORM), self._matrices[HEAD]]
        self._start(
            ops.rwkv7_model(
                config.num_hidden_layers, config.sizes, config.norm_eps, config.head_norm_eps, tensors
            ),
            state_parts(config),
            self._matrices[HEAD],
            LAST_HIDDEN,
            fingerprint,
        )
        return self

    @property
    def weight_bytes(self) -> int:
        """Bytes of all matrices."""
        return self.arena.numel()

    def _of_layer(self, layer: int) -> Iterator[Tensor | PackedMatrix]:
        present = {tensor.name for tensor in tensors_of_layer(layer)}
        for native in dict.fromkeys(tensor.native for tensor in LAYER):
            parts = [tensor for tensor in LAYER if tensor.native == native and tensor.name in present]
            names = [layer_name(layer, tensor) for tensor in parts]
            if not parts:
                is_matrix = next(tensor.is_matrix for tensor in LAYER if tensor.native == native)
                yield torch.empty(0, dtype=torch.uint8 if is_matrix else torch.float32)
            elif parts[0].is_matrix:
                yield self._matrices[names[0]]
            else:
                vectors = [self._vectors[name] for name in names]
                yield vectors[0] if len(vectors) == 1 else torch.stack(vectors)


def _places(config: Rwkv7Config, matrices: Mapping[str, Weight]) -> tuple[dict[str, slice], int]:
    """Return the place of each matrix in the arena, in the order of use, and the size of the arena."""
    order = [EMBEDDING]
    for layer in range(config.num_hidden_layers):
        order += [layer_name(layer, tensor) for tensor in tensors_of_layer(layer) if tensor.is_matrix]
    places, end = {}, 0
    for name in (*order, HEAD):
        start, end = end, end + ops.packed_nbytes(matrices[name])
        places[name] = slice(start, end)
    return places, end
