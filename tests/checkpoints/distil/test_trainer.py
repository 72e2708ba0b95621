import dataclasses
from pathlib import Path

import pytest
import torch

from checkpoints.distil.mixers_file import Mixers
from checkpoints.distil.prepare import continue_from, continued_recipe, newest
from checkpoints.distil.recipe import Stage
from checkpoints.distil.run_folder import read_curve
from checkpoints.distil.trainer import DivergedError, Trainer
from tests.checkpoints.distil.tiny import RECIPE, STEP, tiny_trainer


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.parameters.values()] + list(trainer.average.values())


@pytest.mark.parametrize(("cell", "rounded"), [("gru", False), ("lstm", False), ("gru", True)])
def test_a_run_that_is_resumed_continues_bit_for_bit(tmp_path: Path, cell: str, rounded: bool) -> None:
    recipe = dataclasses.replace(RECIPE, cell=cell, rounded=rounded)
    straight = tiny_trainer(tmp_path / "straight", recipe)
    first = tiny_trainer(tmp_path / "resumed", recipe)
    # The end of a stage is between the two parts.
    for _ in range(8):
        straight.one_step()
    for _ in range(4):
        first.one_step()
    first.folder.save(first.state())
    first.folder.close()
    second = tiny_trainer(tmp_path / "resumed", recipe)
    state = second.folder.load()
    assert state is not None
    second.restore(state)
    for _ in range(4):
        second.one_step()
    assert second.tokens == straight.tokens
    assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(straight), strict=True))


def test_a_run_goes_through_both_stages_and_saves_at_its_end(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    trainer.run(lambda: False)
    assert trainer.tokens == RECIPE.align.tokens + RECIPE.distil.tokens
    state = trainer.folder.load()
    assert state is not None
    assert state["step"] * STEP == trainer.tokens
    trainer.run(lambda: False)
    assert state["step"] * STEP == trainer.tokens


def test_a_stage_begins_from_the_averaged_weights_with_new_moments(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    for _ in range(6):
        trainer.one_step()
    average = {name: tensor.clone() for name, tensor in trainer.average.items()}
    old = trainer.optimizer
    still = dataclasses.replace(RECIPE, distil=Stage(tokens=6 * STEP, learning_rate=0.0))
    trainer.recipe = still
    trainer.one_step()
    assert trainer.optimizer is not old
    assert trainer.stage_steps == 1
    assert all(torch.equal(p.detach(), average[name]) for name, p in trainer.parameters.items())


def test_a_run_asked_to_stop_saves_what_it_has(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    trainer.run(lambda: trainer.step == 3)
    state = trainer.folder.load()
    assert state is not None
    assert state["step"] == 3


def test_the_average_is_what_is_measured(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    for _ in range(3):
        trainer.one_step()
    before = weights(trainer)
    measured = trainer.measure()["chat"]["kl"]
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            parameter.copy_(trainer.average[name])
    assert trainer.learner.measure(trainer.probes["chat"]).kl == pytest.approx(measured, rel=1e-6)


def test_the_rate_is_flat_then_falls_and_warms_up_after_every_new_optimiser(tmp_path: Path) -> None:
    stage = Stage(tokens=1000, learning_rate=1.0, decay=0.4, floor=0.1)
    assert stage.rate(0) == stage.rate(500) == 1.0
    assert stage.rate(800) == pytest.approx(0.55)
    assert stage.rate(1000) == pytest.approx(0.1)
    trainer = tiny_trainer(tmp_path)
    rates = []
    for _ in range(3):
        trainer.one_step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    full = RECIPE.align.learning_rate
    assert rates == pytest.approx([full / 2, full, full])
    trainer.begin_from({name: p.detach().clone() for name, p in trainer.parameters.items()}, tokens=3 * STEP)
    trainer.one_step()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(full / 2)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    next(iter(trainer.parameters.values())).data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="step 0"):
        trainer.one_step()


def test_a_run_keeps_the_recipe_that_it_began_with_but_for_what_is_changed(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    trainer.one_step()
    state = trainer.state()
    assert continued_recipe(state, "gru", {}) == RECIPE
    assert continued_recipe(Mixers(RECIPE, STEP, {}, []), "gru", {}) == RECIPE
    changed = continued_recipe(state, "gru", {"distil": {"tokens": 5 * STEP, "learning_rate": 1.0}})
    assert changed == dataclasses.replace(RECIPE, distil=Stage(tokens=5 * STEP, learning_rate=1.0))
    assert continued_recipe(None, "lstm", {"align": {"tokens": STEP}}).align.tokens == STEP


def test_a_stage_shorter_than_what_it_saw_ends_at_once_and_the_next_one_begins(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path)
    for _ in range(3):
        first.one_step()
    recipe = continued_recipe(first.state(), "gru", {"align": {"tokens": 0}})
    assert recipe.align.tokens == 3 * STEP
    first.folder.close()
    second = tiny_trainer(tmp_path, recipe)
    second.restore(first.state())
    average = {name: tensor.clone() for name, tensor in second.average.items()}
    second.recipe = dataclasses.replace(recipe, distil=Stage(tokens=6 * STEP, learning_rate=0.0))
    second.one_step()
    assert (second.stage_steps, second.recipe.stage_at(second.tokens)[0]) == (1, "distil")
    assert all(torch.equal(p.detach(), average[name]) for name, p in second.parameters.items())
    with pytest.raises(ValueError, match="align ended"):
        continued_recipe({**second.state(), "step": 4}, "gru", {"align": {"tokens": 9 * STEP}})


def test_another_cell_is_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    state = trainer.state() | {"recipe": {"cell": "lstm"}}
    with pytest.raises(ValueError, match="lstm"):
        trainer.restore(state)


def test_the_curve_has_no_row_beyond_the_saved_state(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    state = trainer.state()
    for tokens in (0, STEP, 2 * STEP):
        trainer.folder.log({"tokens": tokens})
    trainer.restore({**state, "step": 1})
    assert [row["tokens"] for row in read_curve(trainer.folder.curve_file)] == [0, STEP]


@pytest.mark.parametrize(("saved", "shipped", "expected"), [(None, 5, 5), (3, 5, 5), (7, 5, 7), (3, None, 3)])
def test_a_run_begins_from_what_saw_more_tokens(
    tmp_path: Path, saved: int | None, shipped: int | None, expected: int
) -> None:
    trainer = tiny_trainer(tmp_path)
    start = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    state = None if saved is None else {**trainer.state(), "step": saved}
    mixers = None if shipped is None else Mixers(RECIPE, shipped * STEP, start, [{"tokens": shipped * STEP}])
    continue_from(trainer, newest(state, mixers))
    assert trainer.step == expected
    if expected == shipped:
        assert [row["tokens"] for row in read_curve(trainer.folder.curve_file)] == [shipped * STEP]
