"""Tiny random models and checkpoints: every weight is drawn, so that no zero or one hides a mistake."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>")
MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("Ã", "©"))
TINY_VOCAB_SIZE = 256 + len(MERGES) + len(SPECIAL_TOKENS)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ 'assistant' if m.role == 'assistant' else 'user' }}|>"
    "{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_config(cell: str = "gru", **over: Any) -> ModelConfig:
    """d 32, 2 layers, 2 heads, a byte-level vocabulary; `over` replaces any field."""
    values: dict[str, Any] = {
        "vocab_size": TINY_VOCAB_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 2,
        "intermediate_size": 48,
        "bos_token_id": TINY_VOCAB_SIZE - 4,
        "eos_token_id": TINY_VOCAB_SIZE - 3,
    }
    return ModelConfig(cell=cell, **{**values, **over})


def tiny_model(cell: str = "gru", seed: int = 0, **over: Any) -> ParaRNNForCausalLM:
    """Unpacked; weights in `dtype` of the config. The global generator is left as it was."""
    config = tiny_config(cell, **over)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = ParaRNNForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_draw(name, parameter, generator))
    return model.to(getattr(torch, config.dtype)).eval()


def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if name.endswith(("cell.A", "cell.C")):
        return (noise / 2).clamp(-0.5, 0.5)
    if name.endswith(("norm.weight", "residual_scale")):
        return 1 + noise / 10
    if name.endswith(("bias", "cell.b", "conv.weight")):
        return noise / 2
    fan_in = parameter.shape[1]
    return noise / math.sqrt(fan_in)


def tiny_tokenizer() -> Tokenizer:
    """Byte-level BPE: 256 bytes, a few merges (one of them joins the two bytes of é), special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*alphabet, *("".join(pair) for pair in MERGES)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def tiny_checkpoint(
    path: Path, cell: str = "gru", seed: int = 0, chat_template: str = CHAT_TEMPLATE, **over: Any
) -> Path:
    """A whole checkpoint directory with tokenizer and chat template; returns `path`."""
    with TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        tiny_tokenizer().save(str(tokenizer))
        save_checkpoint(tiny_model(cell, seed, **over), path, tokenizer, chat_template=chat_template)
    return path
