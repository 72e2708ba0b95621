"""Quantisation of the matrices of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor

from pararnn_core.checkpoint.checkpoint_directory import empty_model
from pararnn_core.models.pararnn.layer_tensors import EMBEDDING, HEAD, matrix_sizes, matrix_stages
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig, matrix_names
from pararnn_core.quantize.quantize_calibration import Calibration, batches, rounding_inputs, sum_of_squares
from pararnn_core.quantize.quantize_gptq import compensate_matrix
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

Progress = Callable[[int, int], None]


@torch.no_grad()
def quantize_model(
    model: ParaRNNForCausalLM,
    quantization: QuantizationConfig,
    windows: Tensor | None = None,
    progress: Progress | None = None,
) -> ParaRNNForCausalLM:
    """Return a new unpacked model with quantised matrices. `model` must be unpacked and does not change.

    windows: (W, T) token ids, for method "gptq" only; progress: progress(weights done, weights in all)
    """
    if (windows is None) != (quantization.method == "round"):
        raise ValueError(f"windows: needed for method 'gptq' and for no other, got {quantization.method!r}")
    walk = _Walk(model, quantization, progress)
    if windows is None:
        walk.round_all()
    else:
        walk.compensate_all(windows)
    return walk.quantized.eval()


def as_rows(parameter: Tensor) -> Tensor:
    """Return a matrix as rows: (O, I) unchanged, a cell's B (H, I, G, O) as (H * G * O, I)."""
    return parameter if parameter.dim() == 2 else parameter.permute(0, 2, 3, 1).flatten(0, 2)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Return rows in the shape of their parameter, the inverse of `as_rows`."""
    if len(shape) == 2:
        return rows
    sizes = matrix_sizes(tuple(shape))
    blocks = rows.view(sizes.heads, sizes.gates, sizes.outputs, sizes.inputs)
    return blocks.permute(0, 3, 1, 2).contiguous()


class _Walk:
    """One pass over all matrices, from the embedding to the head."""

    def __init__(
        self, model: ParaRNNForCausalLM, quantization: QuantizationConfig, progress: Progress | None
    ) -> None:
        config = replace(model.config, dtype="float32", quantization=quantization)
        self.quantized = empty_model(config)
        self._model, self._quantization, self._progress = model, quantization, progress
        self._names = tuple(
            matrix_names(config.num_hidden_layers, config.tie_embeddings, config.matrices_of_a_layer)
        )
        self._done, self._total = 0, sum(model.get_parameter(name).numel() for name in self._names)
        for name, parameter in model.named_parameters():
            if name not in self._names:
                # float() of a float32 tensor is no copy, and the two models must not share memory.
                self.quantized.set_weight(name, parameter.detach().float().clone())

    def round_all(self) -> None:
        """Round each matrix by itself."""
        for name in self._names:
            self._round(name)

    def compensate_all(self, windows: Tensor) -> None:
        """Round each matrix for the inputs that it gets from the quantised matrices before it."""
        model, quantized = self._model, self.quantized
        if model.config.tie_embeddings:
            # A tied embedding is the first matrix and also the last. Its inputs as a head are those of the
            # float model, because the layers between are not quantised yet.
            self._put(self._compensated([EMBEDDING], (model.hidden(tokens) for tokens in batches(windows))))
        else:
            self._round(EMBEDDING)
        calibration = Calibration(windows, quantized.embedding)
        for i in range(model.config.num_hidden_layers):
            self._compensate_layer(i, calibration)
        if not model.config.tie_embeddings:
            head = quantized.lm_head
            inputs = calibration.inputs_of(head, lambda x: head(quantized.final_rows(x)))
            self._put(self._compensated([HEAD], inputs))

    def _compensate_layer(self, i: int, calibration: Calibration) -> None:
        """Round the matrices of a layer, stage by stage."""
        # Until the layer is finished, its quantised matrices are floats of the same values: the stream passes
        # through them many times, and float products are faster.
        quantized, block = self.quantized, self.quantized.blocks[i]
        found: dict[str, QuantizedMatrix] = {}
        with ExitStack() as hooks:
            for stage in matrix_stages(self._model.config.matrices_of_a_layer):
                names = [f"layers.{i}.{name}" for name in stage]
                modules = [quantized.get_submodule(name.rpartition(".")[0]) for name in names]
                # All matrices of a stage have the same inputs, so the first module's are enough.
                matrices = self._compensated(names, calibration.inputs_of(modules[0], block))
                for module, (name, matrix) in zip(modules, matrices.items(), strict=True):
                    shape = self._model.get_parameter(name).shape
                    quantized.set_weight(name, from_rows(matrix.dequantize(), shape))
                    hooks.enter_context(rounding_inputs(module, self._heads(name), matrix.group_size))
                found |= matrices
            calibration.advance(block)
        self._put(found)

    def _round(self, name: str) -> None:
        self._put({name: round_matrix(self._rows(name), self._quantization.format_of(name))})

    def _compensated(self, names: list[str], inputs: Iterable[Tensor]) -> dict[str, QuantizedMatrix]:
        """Return the rounded matrices of one stage, which have the same format and inputs."""
        matrix_format = self._quantization.format_of(names[0])
        hessian = sum_of_squares(inputs, self._heads(names[0]), matrix_format.group_size)
        return {name: compensate_matrix(self._rows(name), hessian, matrix_format) for name in names}

    def _heads(self, name: str) -> int:
        return matrix_sizes(tuple(self._model.get_parameter(name).shape)).heads

    def _rows(self, name: str) -> Tensor:
        return as_rows(self._model.get_parameter(name).detach().float())

    def _put(self, matrices: Mapping[str, QuantizedMatrix]) -> None:
        for name, matrix in matrices.items():
            self.quantized.set_weight(name, matrix)
            self._done += matrix.out_features * matrix.in_features
            if self._progress is not None:
                self._progress(self._done, self._total)
