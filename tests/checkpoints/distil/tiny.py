"""A tiny random teacher of SmolLM2's block, and streams of random text."""

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from checkpoints.distil.learner import Learner
from checkpoints.distil.recipe import Recipe, Stage
from checkpoints.distil.run_folder import RunFolder
from checkpoints.distil.student import new_student
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.teacher_weights import TeacherBlock, TeacherWeights
from checkpoints.distil.token_streams import Stream, Streams
from checkpoints.distil.trainer import Trainer
from checkpoints.distil.windows import TrainingBatches
from pararnn_core.assemble.llama_file import LlamaSizes

SIZES = LlamaSizes(
    vocab_size=300,
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    intermediate_size=48,
    norm_eps=1e-5,
    rope_base=10_000.0,
)
STEP = 64
RECIPE = Recipe(
    tokens_per_step=STEP,
    align=Stage(tokens=6 * STEP, learning_rate=3e-3),
    distil=Stage(tokens=6 * STEP, learning_rate=2e-3),
    warmup_steps=2,
)


def tiny_weights(seed: int = 0) -> TeacherWeights:
    draw = torch.Generator().manual_seed(seed)
    d, m, kv = SIZES.hidden_size, SIZES.intermediate_size, SIZES.num_kv_heads * SIZES.head_size

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=draw) / columns**0.5

    def norm() -> torch.Tensor:
        return 0.5 + torch.rand(d, generator=draw)

    blocks = [
        TeacherBlock(
            norm(), matrix(d, d), matrix(kv, d), matrix(kv, d), matrix(d, d),
            norm(), matrix(m, d), matrix(m, d), matrix(d, m),
        )
        for _ in range(SIZES.num_layers)
    ]  # fmt: skip
    # A constant part, as trained models have: the start of a mixer's gate rests on it.
    embedding = torch.randn(SIZES.vocab_size, d, generator=draw) + 1.0
    return TeacherWeights(SIZES, embedding, blocks, norm())


def tiny_learner(cell: str = "gru", seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    weights = tiny_weights()
    return Learner(new_student(weights, cell), Teacher(weights, torch.float32))


def random_streams(seed: int = 0, tokens: int = 2000) -> Streams:
    draw = np.random.default_rng(seed)
    names = [f"{split}-{kind}" for split in ("training", "held_out") for kind in ("chat", "prose")]
    starts = np.arange(0, tokens, 40)
    return {n: Stream(draw.integers(0, SIZES.vocab_size, tokens, dtype=np.uint16), starts) for n in names}


def tiny_batches(seed: int = 0) -> TrainingBatches:
    return TrainingBatches(random_streams(seed), STEP, seed=0, short=16, long=32)


def tiny_trainer(path: Path, recipe: Recipe = RECIPE) -> Trainer:
    learner = tiny_learner(recipe.cell)
    batches = tiny_batches()
    return Trainer(recipe, learner, batches, {"chat": batches.batch(99)}, RunFolder(path))


def byte_tokenizer() -> Tokenizer:
    """A token for each byte, in the order in which a byte-level tokenizer spells them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def write_gguf(weights: TeacherWeights, file: Path, without: str = "") -> None:
    """The layout of llama.cpp, in float32, with a vocabulary of bytes, but for the characters of some."""
    writer = gguf.GGUFWriter(file, "llama")
    sizes = weights.sizes
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.num_layers)
    writer.add_head_count(sizes.num_heads)
    writer.add_head_count_kv(sizes.num_kv_heads)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_layer_norm_rms_eps(sizes.norm_eps)
    writer.add_rope_freq_base(sizes.rope_base)
    alphabet = [*sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(without)), "he"]
    special = [f"<|{i}|>" for i in range(sizes.vocab_size - len(alphabet))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(special + alphabet)
    writer.add_token_types([3] * len(special) + [1] * len(alphabet))
    writer.add_token_merges(["h e"])
    tensors = {"token_embd": weights.embedding, "output_norm": weights.norm}
    names = {
        "attn_norm": "norm", "attn_q": "query", "attn_k": "key", "attn_v": "value", "attn_output": "output",
        "ffn_norm": "mlp_norm", "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    }  # fmt: skip
    for layer, block in enumerate(weights.blocks):
        tensors |= {f"blk.{layer}.{ggml}": getattr(block, name) for ggml, name in names.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
