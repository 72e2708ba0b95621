"""The serving form of a model on a CPU: weights packed for this machine, all arithmetic in native code.

T rows of a packed batch, d hidden size. A row's bits depend on its sequence alone, not on other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pararnn_core import ops
from pararnn_core.cells import Cell
from pararnn_core.models.cpu_model import CpuModel
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import (
    EMBEDDING,
    HEAD,
    LAYER,
    LayerTensor,
    matrix_stages,
)
from pararnn_core.models.pararnn.layers import Block, Linear, RMSNorm
from pararnn_core.models.pararnn.state_layout import LAST_HIDDEN, state_parts
from pararnn_core.ops import LayerWeights, ModelShape, PackedMatrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix


class PackedModel(CpuModel):
    """The ServingModel of a CPU. Its matrices are in one arena, in the order of their use by `step`."""

    def __init__(
        self,
        config: ModelConfig,
        embedding: nn.Module,
        blocks: Sequence[Block],
        norm: RMSNorm | None,
        head: Linear | None,
        arena: PackingArena,
        fingerprint: str | None = None,
    ) -> None:
        """head: None is tied to `embedding`; arena: of the same modules, which may be packed already."""
        self.config = config
        self.arena = arena.memory
        self.embedding = arena.pack(embedding)
        self.layers = tuple(pack_block(block, arena) for block in blocks)
        packed_head = self.embedding if head is None else arena.pack(head)
        bias = None if head is None or head.bias is None else _vector(head.bias)
        final_norm = torch.empty(0) if norm is None else _vector(norm.weight)
        native = ops.pararnn_model(
            model_shape(config), self.embedding, self.layers, final_norm, packed_head, bias
        )
        self._start(native, state_parts(config), packed_head, LAST_HIDDEN, fingerprint, bias)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all matrices."""
        return self.arena.numel()

    def matrices(self) -> Iterator[tuple[str, PackedMatrix]]:
        """Yield the packed weights with the names of the parameters that they replace."""
        yield EMBEDDING, self.embedding
        for i, layer in enumerate(self.layers):
            for stage in matrix_stages(self.config.matrices_of_a_layer):
                packed = layer[native_of(stage[0])]
                assert isinstance(packed, PackedMatrix)
                for name, matrix in zip(stage, _parts(packed, len(stage)), strict=True):
                    yield f"layers.{i}.{name}", matrix
        if not self.config.tie_embeddings:
            yield HEAD, self._head


class PackingArena:
    """Memory for all packed matrices of a model. Their places do not depend on the order of packing.

    Every matrix must already have its final shape and type, even if it is on the meta device.
    """

    @torch.inference_mode()
    def __init__(
        self, embedding: nn.Module, blocks: Sequence[Block], head: Linear | None, *, release: bool
    ) -> None:
        """embedding, blocks, head: as in PackedModel; release: frees each matrix once it is packed."""
        self._release = release
        # A file is in the order of names, memory in the order of use: places are fixed first.
        self._places: dict[nn.Module, slice] = {}
        self._packed: dict[nn.Module, PackedMatrix] = {}
        end = 0
        outer = [embedding] if head is None else [embedding, head]
        for module in (*outer, *(module for block in blocks for module in _matrix_modules(block))):
            start, end = end, end + _packed_nbytes(module)
            self._places[module] = slice(start, end)
        self.memory = ops.huge_page_arena(end)

    def holds(self, module: nn.Module, leaf: str) -> bool:
        """Return True if this attribute of the module is a matrix of this arena."""
        return module in self._places and leaf == _matrix_of(module)[0]

    @torch.inference_mode()
    def pack(self, module: nn.Module) -> PackedMatrix:
        """Return the module's packed matrix. The first call packs it."""
        if module not in self._packed:
            name, heads, gates = _matrix_of(module)
            weight = _detached(getattr(module, name))
            self._packed[module] = ops.pack(weight, heads, gates, out=self.memory[self._places[module]])
            if self._release:
                # So loading holds only one row-major matrix beside the packed ones.
                delattr(module, name)
        return self._packed[module]

    def pack_stage(self, modules: Sequence[nn.Module]) -> PackedMatrix:
        """Return the packed matrices of neighbouring modules as the gates of one matrix."""
        first, *others = (self.pack(module) for module in modules)
        if not others:
            return first
        # The gates of one matrix share one format.
        if any(other.key != first.key for other in others):
            raise ValueError("gate_proj and up_proj must have the same format and group size")
        places = [self._places[module] for module in modules]
        data = self.memory[places[0].start : places[-1].stop]
        return first._replace(gates=len(modules), data=data)


def pack_block(block: Block, arena: PackingArena) -> LayerWeights:
    """Return the tensors of a layer as native code takes them, and pack its matrices into the arena."""
    weights: LayerWeights = {}
    for tensor in LAYER:
        if tensor.native in weights:
            continue
        if not tensor.is_matrix:
            weights[tensor.native] = _vector_of(block, tensor)
        elif modules := _modules_of(block, tensor.native):
            weights[tensor.native] = arena.pack_stage(modules)
        else:
            weights[tensor.native] = torch.empty(0)
    if not block.config.mixer_residual:
        # Native code adds the mixer's rows to the stream, which a scale of 0 takes away.
        weights["residual_scale"] = torch.zeros(1)
    return weights


def model_shape(config: ModelConfig) -> ModelShape:
    """Return the sizes of a model with this config."""
    return ModelShape(
        cell=config.cell,
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        mlp_hidden_size=config.mlp_hidden_size,
        num_heads=config.num_heads,
        vocab_size=config.vocab_size,
        conv_kernel=config.conv_kernel,
        conv_activation=config.conv_activation,
        gate_order=config.gate_order,
        mlp_residual=config.mlp_residual,
        norm_eps=config.norm_eps,
    )


def native_of(name: str) -> str:
    """Return the name of a layer's tensor in native code."""
    return next(tensor.native for tensor in LAYER if tensor.name == name)


def _matrix_modules(block: Block) -> tuple[nn.Module, ...]:
    return tuple(_module_of(block, name)[0] for name in block.config.matrices_of_a_layer)


def _modules_of(block: Block, native: str) -> list[nn.Module]:
    """Return the modules of these matrices, none if the layer has no such matrix."""
    names = block.config.matrices_of_a_layer
    return [_module_of(block, each.name)[0] for each in LAYER if each.native == native and each.name in names]


def _module_of(block: Block, name: str) -> tuple[nn.Module, str]:
    """Return the module that has a tensor, and the name of its attribute there."""
    path, _, leaf = name.rpartition(".")
    return block.get_submodule(path), leaf


def _vector_of(block: Block, tensor: LayerTensor) -> Tensor:
    """Return a vector as native code takes it; without elements if the layer has no such tensor."""
    parameter = parameter_of(block, tensor.name)
    if parameter is None:
        return torch.empty(0)
    return _vector(parameter.T if tensor.is_transposed else parameter)


def parameter_of(block: Block, name: str) -> Tensor | None:
    """Return a vector of the layer, None if the layer has no such tensor."""
    found: Any = block
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, Tensor) else None


def _matrix_of(module: nn.Module) -> tuple[str, int, int]:
    """Return the name of the module's matrix, its number of heads and its number of gates."""
    return ("B", module.num_heads, module.num_gates) if isinstance(module, Cell) else ("weight", 1, 1)


def _packed_nbytes(module: nn.Module) -> int:
    name, heads, gates = _matrix_of(module)
    return ops.packed_nbytes(_detached(getattr(module, name)), heads, gates)


def _parts(packed: PackedMatrix, count: int) -> Iterator[PackedMatrix]:
    """Yield the matrices that were packed as the gates of one."""
    if count == 1:
        yield packed
        return
    # All have one format and one shape, and so one size.
    for data in packed.data.chunk(count):
        yield packed._replace(gates=1, data=data)


def _detached(weight: Tensor | QuantizedMatrix) -> Tensor | QuantizedMatrix:
    return weight if isinstance(weight, QuantizedMatrix) else weight.detach()


def _vector(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.float32).contiguous()
