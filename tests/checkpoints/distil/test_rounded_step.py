import dataclasses
from pathlib import Path

import torch

from checkpoints.distil.mixers_file import Mixers, read_mixers, write_mixers
from checkpoints.distil.rounded_step import RoundedStep
from checkpoints.distil.teacher import Importance
from pararnn_core.models.pararnn.quantization_config import format_for
from pararnn_core.quantize.quantize_round import round_matrix
from tests.checkpoints.distil.tiny import RECIPE, tiny_trainer


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


def test_only_the_student_has_rounded_mlps_by_the_size_of_their_inputs(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    learner = trainer.learner
    tokens = trainer.batches.batch(0).inputs
    (first, *_) = importance = learner.importance(tokens)
    assert (first.input.shape, first.inner.shape) == (torch.Size([32]), torch.Size([48]))
    before = learner.teacher.hidden(tokens)
    learner.round_mlps(importance)
    assert torch.equal(learner.teacher.hidden(tokens), before)
    teachers, students = learner.teacher.mlps[0], learner.mlps[0]
    wanted = round_matrix(teachers.down.float(), format_for(4), first.inner.float()).dequantize()
    assert torch.equal(students.down.float(), wanted.to(teachers.down.dtype).float())
    other = teachers.rounded(Importance(first.input, first.inner.flip(0)))
    assert not torch.equal(other.down, students.down)


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
