"""Writing of random models in llama.cpp's file format, quantised by its own quantiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import llama_cpp  # type: ignore[import-not-found]  # the peer's interpreter has it
import numpy as np

from benchmarks.llama_cpp.sizes import (
    CONV_WIDTH,
    HEAD_SIZE,
    STATE_SIZE,
    Size,
    Tensor,
    lora_ranks,
)

_FILE_TYPES = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
_DRAWN = 1 << 20


def model_file(size: Size, weights: str, folder: Path, threads: int) -> Path:
    """Return the file of a size in a format, written if it does not exist."""
    path = folder / f"{size.architecture}-{size.label}-{weights}.gguf"
    if path.exists():
        return path
    part = path.with_suffix(".part")
    if weights == "bf16":
        _write(size, part)
    else:
        _quantise(model_file(size, "bf16", folder, threads), part, weights, threads)
    return part.rename(path)


def _write(size: Size, path: Path) -> None:
    writer = gguf.GGUFWriter(path, size.architecture)
    _describe(writer, size)
    _add_tokenizer(writer, size.vocab_size)
    # One block of random numbers is repeated, because speed does not depend on them.
    drawn = np.random.default_rng(0).random(_DRAWN, dtype=np.float32)
    for tensor in size.tensors():
        values = _values(tensor, drawn)
        if tensor.is_matrix:
            writer.add_tensor(tensor.name, _bfloat16(values), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, size: Size) -> None:
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(size.width)
    writer.add_block_count(size.layers)
    writer.add_vocab_size(size.vocab_size)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    if size.architecture == "mamba2":
        writer.add_feed_forward_length(0)
        writer.add_ssm_conv_kernel(CONV_WIDTH)
        writer.add_ssm_inner_size(2 * size.width)
        writer.add_ssm_state_size(STATE_SIZE)
        writer.add_ssm_time_step_rank(2 * size.width // HEAD_SIZE)
        writer.add_ssm_group_count(1)
        return
    ranks = lora_ranks(size.width)
    writer.add_feed_forward_length(4 * size.width)
    writer.add_layer_norm_eps(1e-5)
    writer.add_wkv_head_size(HEAD_SIZE)
    writer.add_token_shift_count(2)
    writer.add_decay_lora_rank(ranks.decay)
    writer.add_iclr_lora_rank(ranks.iclr)
    writer.add_value_residual_mix_lora_rank(ranks.value)
    writer.add_gate_lora_rank(ranks.gate)


def _add_tokenizer(writer: Any, vocab_size: int) -> None:
    """Add a tokenizer in which every id has text, so that every token becomes an event of the stream."""
    tokens = [f"\u0120{i}" for i in range(vocab_size)]
    # The loader requires a token for a line break and one merge.
    tokens[0], tokens[1], tokens[2] = "\u010a", "\u0120", "0"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * vocab_size)
    writer.add_token_merges(["\u0120 0"])
    writer.add_eos_token_id(3)
    writer.add_bos_token_id(3)
    writer.add_add_bos_token(False)


def _values(tensor: Tensor, drawn: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    count = int(np.prod(tensor.shape))
    values = np.resize(drawn * np.float32(tensor.high - tensor.low) + np.float32(tensor.low), count)
    return values.reshape(tensor.shape)


def _bfloat16(values: Any) -> Any:
    """Return the bytes of the values in bfloat16, rounded towards zero."""
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def _quantise(source: Path, target: Path, weights: str, threads: int) -> None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _FILE_TYPES[weights]
    params.nthread = threads
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params) != 0:
        raise RuntimeError(f"llama.cpp could not quantise {source} to {weights}")
