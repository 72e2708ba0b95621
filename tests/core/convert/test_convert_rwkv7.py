"""An RWKV-7 as its author stores it becomes a checkpoint with the logits of his own program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.checkpoint.serving_checkpoint import load_serving_model, serving_info
from pararnn_core.convert import convert_checkpoint
from pararnn_core.quantize.quantize_rwkv7 import quantize_rwkv7
from tests.core.batches import run_alone
from tests.core.models.rwkv7.tiny import CONFIG, checkpoint, in_format, model_of, random_weights
from tests.fixtures import tiny_tokenizer

_DRAW = torch.Generator().manual_seed(7)
TOKENS: list[int] = torch.randint(CONFIG.vocab_size, (200,), generator=_DRAW).tolist()
THEIRS = """
import os, sys
os.environ |= {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0"}
import torch
from rwkv.model import RWKV
torch.set_num_threads(1)
model, state, rows = RWKV(model=sys.argv[1], strategy="cpu fp32"), None, []
for token in torch.load(sys.argv[2]).tolist():
    logits, state = model.forward([token], state)
    rows.append(logits.clone())
torch.save(torch.stack(rows), sys.argv[3])
"""
_NAMES = {
    "model.embeddings.weight": "emb.weight",
    "lm_head.weight": "head.weight",
    "model.norm": "ln_out",
    "model.layers.0.pre_norm": "blocks.0.ln0",
    "model.layers": "blocks",
    "attn_norm": "ln1",
    "ffn_norm": "ln2",
    "attn.g_norm": "att.ln_x",
    "attn.r_proj": "att.receptance",
    "attn.k_proj": "att.key",
    "attn.v_proj": "att.value",
    "attn.o_proj": "att.output",
    "_lora.lora.2.bias": "0",
    "_lora.lora.0.weight": "1",
    "_lora.lora.2.weight": "2",
    "attn.": "att.",
}


def as_its_author_stores(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    theirs: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        value = weight.T.contiguous() if ".lora." in name and weight.dim() == 2 else weight
        for ours, its in _NAMES.items():
            name = name.replace(ours, its)
        if name.endswith(".r_k"):
            value = value.view(-1, 64)
        elif value.dim() == 1 and "ln" not in name:
            value = value.view(1, 1, -1)
        theirs[name] = value
    # Its trainer keeps them, though nothing reads them.
    theirs |= {f"blocks.0.att.v{i}": theirs[f"blocks.1.att.v{i}"].clone() for i in range(3)}
    return theirs


def saved(folder: Path) -> Path:
    torch.save(as_its_author_stores(random_weights()), folder / "model.pth")
    return folder / "model.pth"


def tokenizer_in(folder: Path) -> Path:
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_a_converted_model_has_the_logits_of_its_authors_program(tmp_path: Path) -> None:
    source = saved(tmp_path)
    torch.save(torch.tensor(TOKENS), tmp_path / "tokens.pt")
    theirs = tmp_path / "logits.pt"
    # It reads its settings when it is imported, so it runs in a process of its own.
    command = [
        sys.executable,
        "-c",
        THEIRS,
        str(source.with_suffix("")),
        str(tmp_path / "tokens.pt"),
        str(theirs),
    ]
    subprocess.run(command, env=os.environ | {"PYTHONWARNINGS": "ignore"}, check=True, capture_output=True)
    convert_checkpoint(source, tmp_path / "ours", allow_pickle=True, tokenizer=tokenizer_in(tmp_path))
    logits, _ = run_alone(load_serving_model(tmp_path / "ours"), TOKENS)
    expected = torch.load(theirs)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_converted_model_has_the_same_weights(tmp_path: Path) -> None:
    convert_checkpoint(saved(tmp_path), tmp_path / "ours", allow_pickle=True)
    logits, _ = run_alone(load_serving_model(tmp_path / "ours"), TOKENS[:20])
    assert torch.equal(logits, run_alone(model_of(random_weights()), TOKENS[:20])[0])
    assert serving_info(tmp_path / "ours").fingerprint is not None


def test_a_tensor_that_is_not_known_is_named(tmp_path: Path) -> None:
    tensors = as_its_author_stores(random_weights())
    tensors["blocks.1.att.surprise"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"has blocks\.1\.att\.surprise"):
        convert_checkpoint(tmp_path / "model.pth", tmp_path / "ours", allow_pickle=True)
    del tensors["blocks.1.att.surprise"], tensors["blocks.2.ffn.x_k"]
    torch.save(tensors, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"model.layers.2.ffn.x_k"):
        convert_checkpoint(tmp_path / "model.pth", tmp_path / "ours", allow_pickle=True)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_model_serves_its_rounded_weights(tmp_path: Path, bits: int) -> None:
    source = checkpoint(tmp_path / "float")
    made = quantize_rwkv7(source, tmp_path / "small", bits, 32)
    model = load_serving_model(tmp_path / "small")
    assert model.fingerprint == made.fingerprint
    assert model.config.weight_type == f"int{bits}"
    assert (tmp_path / "small" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    logits, _ = run_alone(model, TOKENS[:20])
    if bits == 8:
        assert torch.equal(logits, run_alone(model_of(in_format(random_weights(), "int8")), TOKENS[:20])[0])
    exact, _ = run_alone(model_of(random_weights()), TOKENS[:20])
    assert torch.cosine_similarity(logits, exact, dim=1).min() > (0.99 if bits == 8 else 0.8)
    with pytest.raises(CheckpointError, match="quantised already"):
        quantize_rwkv7(tmp_path / "small", tmp_path / "again", bits)


def test_a_foreign_model_is_not_overwritten(tmp_path: Path) -> None:
    source, foreign = checkpoint(tmp_path / "float"), checkpoint(tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="is no checkpoint of this project"):
        quantize_rwkv7(source, foreign, 8)
