import dataclasses
from pathlib import Path

import pytest
import torch

from checkpoints.distil.learner import Learner
from checkpoints.distil.lstm_start import start_from_gru
from checkpoints.distil.prepare import begin, trained_gru
from checkpoints.distil.recipe import Stage
from checkpoints.distil.student import mixer_parameters
from tests.checkpoints.distil.tiny import RECIPE, SIZES, STEP, tiny_batches, tiny_learner, tiny_trainer


@pytest.fixture(autouse=True)
def no_committed_mixers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpoints.distil.prepare.committed_mixers", lambda _: None)


def mixers(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in mixer_parameters(learner.model)}


def error(learner: Learner) -> float:
    errors = learner.align_step(tiny_batches().batch(50))
    learner.model.zero_grad()
    return sum(errors) / len(errors)


def test_the_cell_state_does_what_the_state_of_the_gru_did() -> None:
    gru, lstm = tiny_learner("gru"), tiny_learner("lstm")
    ours = gru.model.blocks[0].cell
    with torch.no_grad():
        ours.A.uniform_(-0.5, 0.5)
        # Nothing then passes the reset gate, which an LSTM has not.
        ours.A[2].zero_()
    start_from_gru(lstm.model, mixers(gru))
    theirs = lstm.model.blocks[0].cell
    x = torch.randn(1, 24, SIZES.hidden_size)
    ends = torch.tensor([0, 24], dtype=torch.int32)
    with torch.no_grad():
        states, cells = (
            cell.recurrence(
                cell.input_projection(x)[0], torch.zeros(1, cell.num_states, SIZES.hidden_size), ends
            )
            for cell in (ours, theirs)
        )
    assert torch.allclose(states[:, 0], cells[:, 0], atol=1e-5)


def test_a_lstm_that_begins_from_a_trained_gru_is_ahead_of_one_that_does_not(tmp_path: Path) -> None:
    longer = dataclasses.replace(RECIPE, align=Stage(tokens=60 * STEP, learning_rate=3e-3))
    trainer = tiny_trainer(tmp_path / "gru", longer)
    trainer.run(lambda: trainer.step == 30)
    found, tokens = {}, tiny_batches().batch(0).inputs
    for name, gru in (("fresh", None), ("carried", trained_gru(tmp_path))):
        learner = tiny_learner("lstm")
        begin(learner, tokens, gru)
        found[name] = error(learner)
    assert found["carried"] < 0.9 * found["fresh"]


def test_projections_are_those_of_the_gru_and_only_their_scale_is_fitted(tmp_path: Path) -> None:
    assert trained_gru(tmp_path) is None
    gru, learner = tiny_learner("gru", seed=1), tiny_learner("lstm")
    begin(learner, tiny_batches().batch(0).inputs, mixers(gru))
    now = mixers(learner)
    for name, weight in mixers(gru).items():
        if name.endswith(("in_proj.weight", "out_proj.weight", "conv.weight", "conv.bias")):
            assert torch.equal(now[name], weight)
        if name.endswith("gate_norm.weight"):
            scale = now[name] / weight
            assert torch.allclose(scale, scale.mean().expand_as(scale))
