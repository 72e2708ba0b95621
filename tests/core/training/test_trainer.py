import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pararnn_core.cells import CELLS
from pararnn_core.cells.base import RECURRENT_LIMIT
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.training.forward import Forward, has_compiler
from pararnn_core.training.linear_cross_entropy import CHUNK_ROWS, linear_cross_entropy
from pararnn_core.training.muon import orthogonalised
from pararnn_core.training.optimizers import parameter_groups
from pararnn_core.training.run_folder import Row, RunFolder
from pararnn_core.training.schedule import Budget, learning_rate_factor
from pararnn_core.training.trainer import DivergedError, Recipe, Trainer
from pararnn_core.training.windows import Windows
from tests.fixtures import TINY_VOCAB_SIZE, tiny_config, tiny_model

RECIPE = Recipe(seq_len=16, batch_size=4, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stream() -> np.ndarray:
    parts = [np.arange(start, start + 40, dtype=np.uint16) % TINY_VOCAB_SIZE for start in range(0, 600, 3)]
    return np.concatenate(parts)


def trainer(path: Path, cell: str, resume: bool = False, recipe: Recipe = RECIPE) -> Trainer:
    return Trainer(tiny_config(cell, tie_embeddings=True), recipe, stream(), RunFolder(path, resume))


def train(run: Trainer, stop_after: int | None = None) -> list[Row]:
    budget = Budget(max_steps=20, max_minutes=None)
    rows: list[Row] = []

    def on_step(row: Row) -> None:
        rows.append(row)
        if row["step"] == stop_after:
            run.save(budget)
            raise KeyboardInterrupt

    try:
        run.run(budget, on_step)
    except KeyboardInterrupt:
        assert len(rows) == stop_after
    return rows


@pytest.mark.parametrize("cell", CELLS)
def test_training_lowers_the_loss(tmp_path: Path, cell: str) -> None:
    rows = train(trainer(tmp_path, cell))
    assert len(rows) == 20
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5


@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, cell: str) -> None:
    whole = trainer(tmp_path / "whole", cell)
    losses = [row["loss"] for row in train(whole)]
    begun = trainer(tmp_path / "parts", cell)
    first = train(begun, stop_after=7)
    begun.folder.close()
    second = trainer(tmp_path / "parts", cell, resume=True)
    second.restore()
    assert [row["loss"] for row in first + train(second)] == losses
    for (name, expected), (_, found) in zip(
        whole.model.named_parameters(), second.model.named_parameters(), strict=True
    ):
        assert torch.equal(expected, found), name


def test_recurrent_weights_stay_clipped(tmp_path: Path) -> None:
    run = trainer(tmp_path, "lstm", recipe=Recipe(seq_len=16, batch_size=4, learning_rate=0.3))
    train(run)
    for name, parameter in run.model.named_parameters():
        if name.endswith((".cell.A", ".cell.C")):
            assert parameter.abs().max() <= RECURRENT_LIMIT
            assert parameter.abs().max() == RECURRENT_LIMIT, "the test never reached the limit"


def test_other_settings_cannot_resume_a_run(tmp_path: Path) -> None:
    begun = trainer(tmp_path, "gru")
    train(begun, stop_after=2)
    begun.folder.close()
    other = trainer(tmp_path, "lstm", resume=True)
    with pytest.raises(ValueError, match="other settings"):
        other.restore()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, "gru")
    with torch.no_grad():
        run.model.norm.weight.fill_(math.nan)
    with pytest.raises(DivergedError, match="learning-rate"):
        train(run)


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, resume=False)
    folder.save_state({})
    folder.close()
    with pytest.raises(FileExistsError, match="--resume"):
        RunFolder(tmp_path, resume=False)


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        RunFolder(tmp_path, resume=True)


def test_rows_after_the_saved_state_are_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, resume=False)
    for step in range(1, 6):
        folder.log({"step": step})
    folder.forget_after(3)
    assert [row["step"] for row in folder.rows()] == [1, 2, 3]


def test_chunked_loss_and_gradients_equal_those_of_torch() -> None:
    seed = torch.seed()
    print("seed", seed)
    hidden = torch.randn(2 * CHUNK_ROWS + 5, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(30, (len(hidden),))
    losses = (linear_cross_entropy(hidden, weight, targets), F.cross_entropy(hidden @ weight.T, targets))
    torch.testing.assert_close(losses[0], losses[1])
    found, expected = (torch.autograd.grad(3 * loss, (hidden, weight)) for loss in losses)
    torch.testing.assert_close(found, expected)


def test_every_parameter_is_in_one_group() -> None:
    model = ParaRNNForCausalLM(tiny_config("lstm"))
    for use_muon in (True, False):
        grouped = [p for group in parameter_groups(model, use_muon).values() for p in group]
        assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    assert all(p.ndim == 2 for p in parameter_groups(model, use_muon=True)["muon"])


def test_an_epoch_covers_every_window_once() -> None:
    windows = Windows(np.arange(1000, dtype=np.uint16), seq_len=9, seed=3)
    count = windows.windows_per_epoch
    inputs, targets = windows.batch(0, count)
    assert len(inputs.unique()) == inputs.numel() == 9 * count >= 1000 - 2 * 9 - 1
    assert torch.equal(inputs + 1, targets)
    assert not torch.equal(windows.batch(1, count)[0], inputs)


def test_batches_depend_on_the_step_alone() -> None:
    one, other = (Windows(stream(), seq_len=16, seed=1) for _ in range(2))
    for step in (5, 500, 3):
        assert torch.equal(one.batch(step, 4)[0], other.batch(step, 4)[0])


def test_too_little_text_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Windows(np.arange(10, dtype=np.uint16), seq_len=9, seed=0)


def test_learning_rate_ends_at_zero_and_never_exceeds_its_peak() -> None:
    factors = [learning_rate_factor(i / 1000) for i in range(1001)]
    assert factors[0] == factors[-1] == 0.0
    assert max(factors) == factors[300] == 1.0
    assert all(a >= b for a, b in pairwise(factors[600:]))


def test_a_budget_counts_minutes_of_earlier_parts() -> None:
    assert Budget(max_steps=None, max_minutes=1.0, elapsed=30.0).progress(0) == pytest.approx(0.5, abs=0.05)
    assert Budget(max_steps=10, max_minutes=60.0).progress(4) == 0.4
    with pytest.raises(ValueError, match="must end"):
        Budget(None, None)


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, resume=False)
    with pytest.raises(BlockingIOError, match="another process"):
        RunFolder(tmp_path, resume=False)
    folder.close()
    RunFolder(tmp_path, resume=False).close()


def test_a_truncated_last_line_of_the_log_is_ignored(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, resume=False)
    folder.log({"step": 1})
    with folder.log_file.open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.rows() == [{"step": 1}]
    folder.forget_after(5)
    folder.log({"step": 2})
    assert folder.rows() == [{"step": 1}, {"step": 2}]


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    losses = []
    for name, size, parts in (("one", 8, 1), ("parts", 2, 4)):
        recipe = Recipe(seq_len=16, batch_size=size, accumulate=parts, learning_rate=1e-3)
        losses.append([row["loss"] for row in train(trainer(tmp_path / name, "gru", recipe=recipe))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_stopped_run_says_so_and_can_continue(tmp_path: Path) -> None:
    run, budget, steps = trainer(tmp_path, "gru"), Budget(max_steps=5, max_minutes=None), list[Row]()
    assert run.run(budget, steps.append, lambda: len(steps) == 2) is False
    assert run.next_step == 2
    assert run.run(budget, steps.append) is True
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("cell", CELLS)
def test_narrow_products_change_loss_and_gradients_little(cell: str) -> None:
    tokens = torch.randint(TINY_VOCAB_SIZE, (2, 33), generator=torch.Generator().manual_seed(1))
    found = []
    for products in (torch.float32, torch.bfloat16):
        model = tiny_model(cell).train()
        loss = Forward(model, products, compiled=False).loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((loss.item(), gradient))
    (loss, gradient), (narrow_loss, narrow_gradient) = found
    assert narrow_loss == pytest.approx(loss, rel=0.02)
    assert torch.cosine_similarity(gradient, narrow_gradient, dim=0) > 0.97


# Torch itself uses what it deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")
def test_the_native_recurrence_can_be_traced_whole() -> None:
    """A break would cost the fusion of what surrounds the recurrence. No code is generated here."""
    if not has_compiler():
        pytest.skip("needs the native library and a C++ compiler")
    model = tiny_model("gru").train()
    plain = Forward(model, torch.float32, compiled=False)
    traced = Forward(model, torch.float32, compiled=True)
    traced._layer = torch.compile(lambda block, x: block(x), backend="aot_eager", fullgraph=True)
    tokens = torch.randint(TINY_VOCAB_SIZE, (2, 17), generator=torch.Generator().manual_seed(1))
    losses, gradients = [], []
    for forward in (plain, traced):
        model.zero_grad()
        loss = forward.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 8, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalised(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3
