import dataclasses
from pathlib import Path

import torch

from checkpoints.distil.mixers_file import Mixers, read_mixers, write_mixers
from checkpoints.distil.rounded_step import RoundedStep
from checkpoints.distil.student import mixer_parameters
from checkpoints.distil.teacher import Importance
from pararnn_core.assemble.assemble import assemble
from pararnn_core.assemble.mixers_file import read_stored_mixers
from pararnn_core.checkpoint import load_checkpoint
from tests.checkpoints.distil.tiny import RECIPE, STEP, tiny_learner, tiny_trainer, tiny_weights, write_gguf


def test_a_measurement_sees_the_values_that_a_file_has(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    file = tmp_path / "mixers.safetensors"
    exact = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    write_mixers(Mixers(RECIPE, 0, exact, []), file)
    stored = read_mixers(file).weights
    with RoundedStep(trainer.parameters).in_measurement():
        for name, parameter in trainer.parameters.items():
            torch.testing.assert_close(parameter.detach(), stored[name], rtol=0, atol=0)
    assert all(torch.equal(p, exact[name]) for name, p in trainer.parameters.items())


def test_gradients_at_rounded_values_change_the_exact_ones(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, rounded=True)
    trainer = tiny_trainer(tmp_path, recipe)
    trainer.run(lambda: trainer.recipe.stage_at(trainer.tokens)[0] == "distil")
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    trainer.one_step()
    steps = [float((p.detach() - before[name]).abs().max()) for name, p in trainer.parameters.items()]
    # A step of AdamW is at most a few times the rate: rounding would change a weight by far more.
    assert all(0 < step < 4 * RECIPE.distil.learning_rate for step in steps)


def test_the_student_learns_with_the_mlps_of_the_assembled_checkpoint(tmp_path: Path) -> None:
    weights = tiny_weights()
    write_gguf(weights, tmp_path / "tiny.gguf")
    learner = tiny_learner("gru")
    tokens = torch.arange(STEP).view(2, -1)
    before = learner.teacher.hidden(tokens)
    importance = learner.importance(tokens)
    assert [(len(each.input), len(each.inner)) for each in importance] == [(32, 48)] * 2
    mixers = {name: p.detach() for name, p in mixer_parameters(learner.model)}
    write_mixers(Mixers(RECIPE, 0, mixers, [], importance), tmp_path / "mixers-gru.safetensors.xz")
    assemble(tmp_path / "tiny.gguf", tmp_path / "mixers-gru.safetensors.xz", tmp_path / "model", "int4")
    learner.round_mlps(importance)
    assert torch.equal(learner.teacher.hidden(tokens), before)
    served = dict(load_checkpoint(tmp_path / "model", pack=False).quantized_matrices())
    for layer, mlp in enumerate(learner.mlps):
        for name, weight in (("gate", mlp.gate), ("up", mlp.up), ("down", mlp.down)):
            assembled = served[f"layers.{layer}.mlp.{name}_proj.weight"].dequantize()
            assert torch.equal(weight, assembled.to(weight.dtype))


def test_importance_comes_back_from_a_file(tmp_path: Path) -> None:
    importance = [Importance(torch.rand(32).bfloat16(), torch.rand(48).bfloat16()) for _ in range(2)]
    write_mixers(Mixers(RECIPE, 0, {}, [], importance), tmp_path / "a.safetensors")
    read = read_mixers(tmp_path / "a.safetensors").importance
    for left, right in zip(read, importance, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    stored = read_stored_mixers(tmp_path / "a.safetensors")
    for name, inputs in (
        ("gate", importance[1].input),
        ("up", importance[1].input),
        ("down", importance[1].inner),
    ):
        found = stored.importance_of(f"layers.1.mlp.{name}_proj.weight")
        assert found is not None
        assert torch.equal(found, inputs.float())
    assert stored.importance_of("layers.1.in_proj.weight") is None


def test_a_saved_run_keeps_its_importance(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, rounded=True)
    trainer = tiny_trainer(tmp_path, recipe)
    trainer.run(lambda: trainer.step >= 2)
    found = trainer.importance
    trainer.folder.close()
    again = tiny_trainer(tmp_path, recipe)
    state = again.folder.load()
    assert state is not None
    again.restore(state)
    assert len(again.importance) == 2
    for left, right in zip(again.importance, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
