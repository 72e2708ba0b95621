"""A step of a whole model as one native call: from tokens to logits over a batch of slots."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from pararnn_core.ops.cells import cell_number
from pararnn_core.ops.choices import ACTIVATIONS, MIXER_OUTPUTS, number
from pararnn_core.ops.library import native
from pararnn_core.ops.linear import PackedMatrix

STEP_STAGES = (
    "embedding",
    "norms",
    "in_proj",
    "convolution",
    "cell input",
    "recurrence",
    "gate",
    "out_proj",
    "residuals",
    "gate_proj, up_proj",
    "silu, product",
    "down_proj",
    "final rows",
    "head",
)
"""The stages of a step, in the order of the native library."""


class ModelShape(NamedTuple):
    """The sizes and choices that the native library needs beside the weights; names as in ModelConfig."""

    cell: str
    num_layers: int
    hidden_size: int
    mlp_hidden_size: int
    num_heads: int
    vocab_size: int
    conv_kernel: int
    conv_activation: str
    gate_order: str
    mlp_residual: bool
    norm_eps: float


LayerWeights = dict[str, Tensor | PackedMatrix]
"""The tensors of a layer by name, in the order of PARARNN_LAYER_TENSORS in native code. Matrices are packed;
vectors are float32. A tensor that the model does not have is a tensor without elements."""


class NativeModel:
    """A model in the native library. It shares the memory of the weights and is freed with this object."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        # The callback must not refer to self, or the model would never be collected.
        weakref.finalize(self, native().model_free, handle)

    def step(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor,
        has_initial_state: Tensor | None,
        logits_indices: Tensor | None,
        state: Sequence[Tensor],
        stage_seconds: Tensor | None = None,
        hidden_indices: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Run one packed batch, and update the parts of the state in place by slot.

        tokens: (T,) int32 or int64; cu_seqlens: (S+1,) int32, without empty sequences
        slots: (S,) int32, -1 skips a sequence; has_initial_state: (S,) bool, None: all True
        logits_indices: (M,) int32 or int64, rows of tokens; None: the last of each sequence
        state: the parts that state_layout.state_parts lists, in that order, each with all slots
        stage_seconds: (len(STEP_STAGES),) float64, to which the time of each stage is added
        hidden_indices: (K,) int32 or int64, rows of tokens; hidden (K, d) float32 gets their final rows
        Returns logits (M, V) float32. Raises ValueError that names the argument, before any state changes.
        """
        try:
            logits: Tensor = native().model_step(
                self._handle,
                tokens,
                cu_seqlens,
                slots,
                has_initial_state,
                logits_indices,
                list(state),
                stage_seconds,
                *(() if hidden is None and hidden_indices is None else (hidden_indices, hidden)),
            )
        except RuntimeError as error:
            # A step can fail only for lack of memory or because of its arguments.
            if "bad_alloc" in str(error):
                raise MemoryError(f"no memory for a step of {len(tokens)} tokens: feed fewer") from None
            # After the first line torch adds where in C++ the error arose.
            raise ValueError(str(error).partition("\n")[0]) from None
        return logits


def pararnn_model(
    shape: ModelShape,
    embedding: PackedMatrix,
    layers: tuple[LayerWeights, ...],
    norm: Tensor,
    head: PackedMatrix,
    head_bias: Tensor | None = None,
) -> NativeModel:
    """Return a ParaRNN. Raises RuntimeError that names a weight if it does not fit the shape.

    norm: without elements if the model has none; head_bias: (vocabulary,) float32
    """
    # Native code expects the weights in this order.
    weights = [embedding, *(weight for layer in layers for weight in layer.values()), norm, head]
    if head_bias is not None:
        weights.append(head_bias)
    return NativeModel(
        native().model_create(
            *_tensors_and_formats(weights),
            cell_number(shape.cell),
            shape.num_layers,
            shape.hidden_size,
            shape.mlp_hidden_size,
            shape.num_heads,
            shape.vocab_size,
            shape.conv_kernel,
            number("conv_activation", shape.conv_activation, ACTIVATIONS),
            number("gate_order", shape.gate_order, MIXER_OUTPUTS),
            shape.mlp_residual,
            shape.norm_eps,
        )
    )


def rwkv7_model(
    num_layers: int,
    sizes: Mapping[str, int],
    norm_eps: float,
    head_norm_eps: float,
    weights: Sequence[Tensor | PackedMatrix],
) -> NativeModel:
    """Return an RWKV-7. Raises RuntimeError that names a weight if it does not fit the sizes.

    sizes: by the letters of models/rwkv7/layer_tensors.py; weights: embedding, first norm, for each layer
        PARARNN_RWKV7_LAYER_TENSORS of native code, final norm, head; a norm is its weight and its bias
    """
    letters = ("d", "f", "W", "A", "V", "G", "vocabulary")
    return NativeModel(
        native().rwkv7_create(
            *_tensors_and_formats(weights),
            num_layers,
            *(sizes[letter] for letter in letters),
            norm_eps,
            head_norm_eps,
        )
    )


def _tensors_and_formats(weights: Sequence[Tensor | PackedMatrix]) -> tuple[list[Tensor], list[int]]:
    """Return all tensors, and format and group size of each matrix."""
    tensors: list[Tensor] = []
    formats: list[int] = []
    for weight in weights:
        if isinstance(weight, PackedMatrix):
            tensors.append(weight.data)
            formats.extend((weight.format, weight.group_size))
        else:
            tensors.append(weight)
    return tensors, formats
