from pathlib import Path

import pytest
import torch
from pararnn_server.text.tokenizer import Tokenizer
from safetensors import safe_open

from pararnn_core.assemble.assemble import WEIGHT_TYPES, assemble
from pararnn_core.assemble.mixers_file import read_stored_mixers
from pararnn_core.checkpoint import checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.generate import generate
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, unpack_nibbles
from tests.checkpoints.distil.tiny import SIZES, tiny_weights, write_gguf
from tests.core.assemble.joined import plain_sources, tiny_sources

# The same on every machine, with every version of the libraries.
RECORDED = "cec0b6927a8b8aeb0fdd83125d1e6efe71aeb1ea9b3345c7b98210a98b3101e3"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / "model.safetensors", framework="pt") as archive:
        return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # not a mapping


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
def test_what_is_assembled_is_an_ordinary_checkpoint(tmp_path: Path, cell: str, weight_type: str) -> None:
    source, mixers = tiny_sources(tmp_path, cell)
    fingerprint = assemble(source, mixers, tmp_path / "model", weight_type)
    info = checkpoint_info(tmp_path / "model")
    assert verify_checkpoint(tmp_path / "model") == info.fingerprint == fingerprint
    assert info.config.weight_type == weight_type
    assert info.config.cell == cell
    assert info.has_tokenizer
    assert info.has_chat_template
    model = load_checkpoint(tmp_path / "model")
    assert len(list(generate(model, [5, 6], SamplingParams(max_tokens=4, temperature=0.0)))) <= 4


@pytest.mark.parametrize(("weight_type", "bits"), [("int4", 4), ("int8", 8)])
def test_mixers_keep_their_integers_and_scales(tmp_path: Path, weight_type: str, bits: int) -> None:
    source, mixers = tiny_sources(tmp_path)
    assemble(source, mixers, tmp_path / "model", weight_type)
    stored, tensors = read_stored_mixers(mixers), tensors_of(tmp_path / "model")
    assert len(stored.matrices) == 2 * 3
    for name, matrix in stored.matrices.items():
        qweight = tensors[name + QWEIGHT]
        # Cells have 8 bits in the file too.
        found = qweight if qweight.dtype == torch.int8 else unpack_nibbles(qweight, matrix.in_features)
        assert (qweight.dtype == torch.uint8) == (bits == matrix.bits == 4)
        assert torch.equal(found, matrix.values())
        assert torch.equal(tensors[name + SCALES], matrix.scales)
    for name, tensor in stored.floats.items():
        assert torch.equal(tensors[name], tensor)


def test_everything_else_is_the_transformers(tmp_path: Path) -> None:
    source, mixers = tiny_sources(tmp_path)
    assemble(source, mixers, tmp_path / "int8", "int8")
    assemble(source, mixers, tmp_path / "floats", "bfloat16")
    weights, floats = tiny_weights(), load_checkpoint(tmp_path / "floats", pack=False, dtype="float32")
    rounded = load_checkpoint(tmp_path / "int8", pack=False)
    matrices = dict(rounded.quantized_matrices())

    def check(name: str, expected: torch.Tensor) -> None:
        assert torch.equal(floats.get_parameter(name), expected.bfloat16().float())
        if name in matrices:
            assert (matrices[name].dequantize() - expected).norm() < 0.01 * expected.norm()
        else:
            assert torch.equal(rounded.get_parameter(name), expected)

    check("embedding.weight", weights.embedding)
    check("norm.weight", weights.norm)
    for layer, block in enumerate(weights.blocks):
        check(f"layers.{layer}.norm.weight", block.norm)
        check(f"layers.{layer}.mlp_norm.weight", block.mlp_norm)
        check(f"layers.{layer}.mlp.gate_proj.weight", block.gate)
        check(f"layers.{layer}.mlp.up_proj.weight", block.up)
        check(f"layers.{layer}.mlp.down_proj.weight", block.down)


def test_the_fingerprint_is_the_one_that_was_recorded(tmp_path: Path) -> None:
    """Sessions move between machines whose models were assembled apart."""
    assert assemble(*plain_sources(tmp_path), tmp_path / "model") == RECORDED


def test_further_files_are_written_and_replaced_with_the_rest(tmp_path: Path) -> None:
    source, mixers = tiny_sources(tmp_path)
    target = tmp_path / "model"
    assemble(source, mixers, target, further={"NOTICE": b"old", "LICENSE": b"text"})
    (target / "mine.txt").write_text("kept")
    assemble(source, mixers, target, further={"NOTICE": b"new", "config.json": b"never"})
    assert (target / "NOTICE").read_bytes() == b"new"
    assert (target / "mine.txt").read_text() == "kept"
    assert checkpoint_info(target).config.vocab_size


def test_bytes_without_a_token_get_one_and_the_embedding_of_the_next_byte(tmp_path: Path) -> None:
    _, mixers = tiny_sources(tmp_path)
    # The bytes 0x04, 0x13, 0x14 and 0xf1.
    write_gguf(tiny_weights(), tmp_path / "without.gguf", without="\u0104\u0113\u0114\u00f1")
    assemble(tmp_path / "without.gguf", mixers, tmp_path / "model", "bfloat16")
    vocab_size = SIZES.vocab_size + 4
    tokenizer = Tokenizer(tmp_path / "model", vocab_size)
    text = "a\x04b\x13\x14 \U00040000"
    ids = tokenizer.plain_ids(text)
    assert tokenizer.decode(ids) == text
    assert {token for token in ids if token >= SIZES.vocab_size} == set(range(SIZES.vocab_size, vocab_size))
    embedding = tensors_of(tmp_path / "model")["embedding.weight"]
    assert len(embedding) == vocab_size
    next_ids = [tokenizer.plain_ids(each)[0] for each in "\x05\x15\x15"]
    assert torch.equal(embedding[-4:-1], embedding[next_ids])


def test_progress_ends_at_the_number_of_parameters(tmp_path: Path) -> None:
    source, mixers = tiny_sources(tmp_path)
    calls: list[tuple[int, int]] = []
    assemble(source, mixers, tmp_path / "model", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1] == checkpoint_info(tmp_path / "model").config.num_parameters


def test_the_card_says_where_the_model_is_from_and_shows_the_figures(tmp_path: Path) -> None:
    source, mixers = tiny_sources(tmp_path)
    figures = {
        "measured": "On a machine.",
        "quality": [["KL", "0.5", "0"]],
        "recall": [[50, "90 %"]],
        "samples": [{"prompt": "Hi", "reply": "Hello"}],
        "limits": ["It cannot sing."],
    }
    assemble(source, mixers, tmp_path / "model", figures=figures)
    card = (tmp_path / "model" / "README.md").read_text()
    origin = ("SmolLM2-135M-Instruct", "Apache-2.0", "Llama-3.1-405B", "123 tokens")
    measured = ("On a machine.", "| KL | 0.5 | 0 |", "| 50 | 90 % |", "user: Hi\nassistant: Hello")
    for expected in (*origin, *measured, "It cannot sing."):
        assert expected in card
    assert "bfloat16 | int8" not in card
    assemble(source, mixers, tmp_path / "plain")
    assert "Nothing was measured" in (tmp_path / "plain" / "README.md").read_text()
