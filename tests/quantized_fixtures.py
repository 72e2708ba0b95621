"""Tiny quantised models and checkpoints."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig
from pararnn_core.quantize.quantize_model import from_rows, quantize_model
from tests.fixtures import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

MIXED = QuantizationConfig(
    "round",
    4,
    16,
    (
        ("embedding.weight", MatrixFormat(8, 32)),
        ("layers.1.cell.B", MatrixFormat(8, 16)),
    ),
)
FORMATS = {
    "int8": QuantizationConfig("round", 8, 128),
    "int4": QuantizationConfig("round", 4, 32),
    "mixed": MIXED,
}


def tiny_quantized_model(
    cell: str = "gru", quantization: QuantizationConfig = MIXED, seed: int = 0, **over: Any
) -> ParaRNNForCausalLM:
    """Unpacked."""
    return quantize_model(tiny_model(cell, seed, **over), quantization)


def tiny_quantized_checkpoint(
    path: Path, cell: str = "gru", quantization: QuantizationConfig = MIXED, seed: int = 0, **over: Any
) -> Path:
    """A whole checkpoint directory with tokenizer and chat template; returns `path`."""
    with TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        tiny_tokenizer().save(str(tokenizer))
        model = tiny_quantized_model(cell, quantization, seed, **over)
        save_checkpoint(model, path, tokenizer, chat_template=CHAT_TEMPLATE)
    return path


def float_twin(model: ParaRNNForCausalLM) -> ParaRNNForCausalLM:
    """The float model whose matrices have the values of the quantised ones."""
    twin = ParaRNNForCausalLM(replace(model.config, quantization=None)).eval()
    for name, parameter in model.named_parameters():
        twin.set_weight(name, parameter.detach().clone())
    for name, matrix in model.quantized_matrices():
        twin.set_weight(name, from_rows(matrix.dequantize(), twin.get_parameter(name).shape))
    return twin
