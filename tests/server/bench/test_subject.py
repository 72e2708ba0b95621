from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from pararnn_server.bench.subject import WEIGHTS, Subject

from pararnn_core.checkpoint import checkpoint_info, save_checkpoint
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.fixtures import tiny_checkpoint, tiny_config, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bytes_per_step_are_those_of_all_weights_but_an_embedding_that_is_no_head(
    cell: str, tied: bool, dtype: str
) -> None:
    config = tiny_config(cell, tie_embeddings=tied, dtype=dtype)
    parameters = dict(tiny_model(cell, tie_embeddings=tied, dtype=dtype).named_parameters())
    read = {name: each for name, each in parameters.items() if tied or name != "embedding.weight"}
    assert Subject("tiny", config).decode_bytes == sum(each.nbytes for each in read.values())


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_bytes_per_step_of_integers_are_those_of_their_file_without_the_embedding(
    weights: str, tmp_path: Path
) -> None:
    subject = Subject.random("25m", weights)
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    save_checkpoint(subject.load(pack=False), tmp_path / "model", tmp_path / "tokenizer.json")
    tensors = checkpoint_info(tmp_path / "model").tensors
    stored = sum(each.nbytes for each in tensors if not each.name.startswith("embedding."))
    assert Subject.of_checkpoint(tmp_path / "model").decode_bytes == subject.decode_bytes == stored


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_random_model_holds_every_weight_in_its_format(weights: str) -> None:
    model = Subject.random("25m", weights).load(pack=False)
    matrices = dict(model.quantized_matrices())
    assert all(not each.is_meta and bool(each.isfinite().all()) for each in model.parameters())
    assert all(isinstance(each, QuantizedMatrix) for each in matrices.values())
    assert len(matrices) == (6 * 10 + 2 if weights.startswith("int") else 0)
    expected = torch.bfloat16 if weights == "bf16" else torch.float32
    assert {each.dtype for each in model.parameters()} == {expected}
    for each in matrices.values():
        each.check_values()
        assert each.bits == int(weights.removeprefix("int"))


def test_random_weights_are_the_same_every_time() -> None:
    first, second = (dict(Subject.random("25m", "int8").load(pack=False).weights()) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_operations_are_two_for_each_weight_that_is_multiplied(tmp_path: Path) -> None:
    subject = Subject.of_checkpoint(tiny_checkpoint(tmp_path / "tiny"))
    head = subject.config.vocab_size * subject.config.hidden_size
    body = subject.num_parameters - 2 * head
    assert subject.decode_operations(3) == 3 * 2 * (body + head)
    assert subject.prefill_operations(10) == 2 * (10 * body + head)


def test_a_checkpoint_is_measured_under_its_own_name(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "tiny", dtype="bfloat16")
    here = os.path.relpath(tmp_path / "tiny")
    assert Subject.of_checkpoint(Path(here)).label == "tiny gru bf16"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("3m", "int8"), "preset"), (("25m", "int2"), "weights"), (("25m", "f32", "elman"), "cell")],
)
def test_what_there_is_not_is_named(arguments: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Subject.random(*arguments)


@pytest.mark.parametrize("weights", ["bf16", "int4"])
def test_a_random_model_is_made_on_the_device_that_is_asked_for(weights: str) -> None:
    model = Subject.random("25m", weights).load(pack=False, device="meta")
    assert all(tensor.is_meta for _, tensor in model.weights())
