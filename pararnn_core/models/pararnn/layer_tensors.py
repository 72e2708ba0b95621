"""The tensors of a ParaRNN, declared once, for shapes, packing, quantisation, conversion and counts.

Letters stand for sizes: d channels, V ids, H heads, K taps, m channels of the MLP; G gates, R recurrent rows
and P peepholes of the cell. S is 1 with a residual scale, else 0. i rows of in_proj, o of out_proj.
Sizes that are d or 0: c channels of the convolution, g of the gate's norm, q of the MLP's norm, n of others.
v is V with a bias of the head, else 0. A tensor with a size of 0 does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Shape = tuple[int, ...]


class MatrixSizes(NamedTuple):
    """The sizes of a matrix of heads x gates blocks, each (outputs, inputs). A plain matrix is one block."""

    heads: int
    gates: int
    inputs: int
    outputs: int

    @property
    def rows(self) -> int:
        """Rows of all blocks, one below the other."""
        return self.heads * self.gates * self.outputs


class LayerTensor(NamedTuple):
    """A parameter of a layer.

    native: its name in the table of native code (PARARNN_LAYER_TENSORS). Matrices with the same native name
        have the same inputs and format, and are packed as the gates of one matrix.
    is_transposed: native code has the transpose; is_recurrent: recurrent_clip bounds it
    """

    name: str
    letters: tuple[str, ...]
    native: str
    is_matrix: bool = False
    is_transposed: bool = False
    is_recurrent: bool = False

    def shape(self, sizes: Mapping[str, int]) -> Shape:
        """Return the shape for these sizes."""
        return tuple(sizes[letter] for letter in self.letters)


# Native code takes the tensors in this order.
LAYER = (
    LayerTensor("norm.weight", ("n",), "norm"),
    LayerTensor("in_proj.weight", ("i", "d"), "in_proj", is_matrix=True),
    LayerTensor("conv.weight", ("c", "K"), "conv_taps", is_transposed=True),
    LayerTensor("conv.bias", ("c",), "conv_bias"),
    LayerTensor("cell.B", ("H", "d/H", "G", "d/H"), "cell_input", is_matrix=True),
    LayerTensor("cell.b", ("G", "d"), "cell_bias"),
    LayerTensor("cell.A", ("R", "d"), "a", is_recurrent=True),
    LayerTensor("cell.C", ("P", "d"), "c", is_recurrent=True),
    LayerTensor("gate_norm.weight", ("g",), "gate_norm"),
    LayerTensor("out_proj.weight", ("o", "d"), "out_proj", is_matrix=True),
    LayerTensor("residual_scale", ("S",), "residual_scale"),
    LayerTensor("mlp_norm.weight", ("q",), "mlp_norm"),
    LayerTensor("mlp.gate_proj.weight", ("m", "d"), "gate_up", is_matrix=True),
    LayerTensor("mlp.up_proj.weight", ("m", "d"), "gate_up", is_matrix=True),
    LayerTensor("mlp.down_proj.weight", ("d", "m"), "down_proj", is_matrix=True),
)
EMBEDDING, FINAL_NORM, HEAD, HEAD_BIAS = "embedding.weight", "norm.weight", "lm_head.weight", "lm_head.bias"
OUTSIDE: dict[str, tuple[str, ...]] = {
    EMBEDDING: ("V", "d"),
    FINAL_NORM: ("n",),
    HEAD: ("V", "d"),
    HEAD_BIAS: ("v",),
}
"""The tensors outside of the layers. A head that is tied to the embedding does not exist."""

MATRICES_OF_A_LAYER = tuple(tensor.name for tensor in LAYER if tensor.is_matrix)
RECURRENT_OF_A_LAYER = tuple(tensor.name for tensor in LAYER if tensor.is_recurrent)


def matrices_of_a_layer(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of the matrices that a layer of these sizes has, in the order of use."""
    shapes = layer_shapes(sizes)
    return tuple(name for name in MATRICES_OF_A_LAYER if name in shapes)


def layer_shapes(sizes: Mapping[str, int]) -> dict[str, Shape]:
    """Return the shapes of the tensors that a layer of these sizes has, by name."""
    shapes = {tensor.name: tensor.shape(sizes) for tensor in LAYER}
    return {name: shape for name, shape in shapes.items() if 0 not in shape}


def outside_shapes(sizes: Mapping[str, int], tied: bool) -> dict[str, Shape]:
    """Return the shapes of the tensors outside of the layers, by name."""
    names = [name for name in OUTSIDE if not (tied and name == HEAD)]
    shapes = {name: tuple(sizes[letter] for letter in OUTSIDE[name]) for name in names}
    return {name: shape for name, shape in shapes.items() if 0 not in shape}


def parameter_shapes(sizes: Mapping[str, int], num_layers: int, tied: bool) -> dict[str, Shape]:
    """Return the shapes of all tensors, by name."""
    layer = layer_shapes(sizes)
    layers = {f"layers.{i}.{name}": shape for i in range(num_layers) for name, shape in layer.items()}
    return outside_shapes(sizes, tied) | layers


def count_parameters(sizes: Mapping[str, int], num_layers: int, tied: bool) -> int:
    """Return the exact number of parameters. The cost does not depend on the number of layers."""
    outside = sum(map(math.prod, outside_shapes(sizes, tied).values()))
    return outside + num_layers * sum(map(math.prod, layer_shapes(sizes).values()))


def matrix_sizes(shape: Shape) -> MatrixSizes:
    """Return the blocks of a matrix parameter with this shape: (O, I), or (H, I, G, O) by head."""
    if len(shape) == 2:
        return MatrixSizes(1, 1, shape[1], shape[0])
    heads, inputs, gates, outputs = shape
    return MatrixSizes(heads, gates, inputs, outputs)


def matrix_stages(of_a_layer: Sequence[str] = MATRICES_OF_A_LAYER) -> Iterator[tuple[str, ...]]:
    """Yield names of a layer's matrices, in the order of use. Those of one stage have the same inputs."""
    # A dict keeps the order of use, which a set would lose.
    for native in dict.fromkeys(tensor.native for tensor in LAYER if tensor.name in of_a_layer):
        yield tuple(tensor.name for tensor in LAYER if tensor.native == native)


def letters_in(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Return the sizes, by letter, that the shapes of the first layer and outside of the layers show.

    A letter that no tensor shows is 0. Raises ValueError that names tensors with a wrong number of
    dimensions.
    """
    declared = OUTSIDE | {f"layers.0.{tensor.name}": tensor.letters for tensor in LAYER}
    known = {name: shape for name, shape in shapes.items() if name in declared}
    wrong = [name for name, shape in known.items() if len(shape) != len(declared[name])]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: wrong number of dimensions")
    sizes = {letter: 0 for letters in declared.values() for letter in letters}
    for name, letters in declared.items():
        # A tensor that does not exist has no sizes to show, so the lengths may differ.
        sizes.update(zip(letters, known.get(name, ()), strict=False))
    return sizes
