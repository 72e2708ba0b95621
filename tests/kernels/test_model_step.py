"""The whole step as one native call: the handle's life. What it computes is tested through the model."""

import gc
import weakref

import pytest
import torch

from pararnn_core import ops
from pararnn_core.models.pararnn.packed import model_shape
from pararnn_core.ops.library import native
from pararnn_core.state import RecurrentState
from tests.fixtures import tiny_model


def arguments(state: RecurrentState) -> tuple[object, ...]:
    one = torch.tensor([0], dtype=torch.int32)
    bounds = torch.tensor([0, 1], dtype=torch.int32)
    fresh = torch.tensor([False])
    return one, bounds, one, fresh, one, list(state.tensors), None


def test_freed_handle_is_refused_and_gives_its_weights_back() -> None:
    model = tiny_model().pack()
    serving = model.serving_form()
    handle, state = serving._native._handle, model.new_state(1)
    assert native().model_step(handle, *arguments(state)).isfinite().all()
    arena = weakref.ref(serving.arena.untyped_storage())
    del model, serving
    gc.collect()
    assert arena() is None
    with pytest.raises(RuntimeError, match=f"model: {handle} is no model, or was freed"):
        native().model_step(handle, *arguments(state))


def test_handle_that_never_was_is_refused() -> None:
    with pytest.raises(RuntimeError, match="model: 0 is no model"):
        native().model_step(0, *arguments(tiny_model().new_state(1)))


def test_weight_that_does_not_fit_the_shape_is_named() -> None:
    model = tiny_model().pack()
    serving, d = model.serving_form(), model.config.hidden_size
    first, *others = serving.layers
    bad = first | {"gate_norm": torch.ones(3)}
    with pytest.raises(RuntimeError, match=rf"gate_norm: expected shape \({d}\), got \(3\)"):
        ops.pararnn_model(
            model_shape(model.config), serving.embedding, (bad, *others), torch.ones(d), serving.embedding
        )


def test_parts_of_a_state_that_are_not_the_models_are_named() -> None:
    serving = tiny_model().pack().serving_form()
    state = serving.new_state(2)
    *batch, _, seconds = arguments(state)
    cell, last_hidden, conv, seen = state.tensors
    for wrong, message in (
        ([cell, last_hidden, conv], "state: seen is missing"),
        ([*state.tensors, seen], "state: expected 4 parts, got 5"),
        ([cell, last_hidden[:1], conv, seen], r"last_hidden: expected shape \(2, 32\), got \(1, 32\)"),
        ([cell, conv, last_hidden, seen], "last_hidden: expected shape"),
        ([cell.double(), last_hidden, conv, seen], "cell: expected float32"),
    ):
        with pytest.raises(RuntimeError, match=message):
            native().model_step(serving._native._handle, *batch, wrong, seconds)
    assert not any(part.any() for part in state.tensors)


def test_stage_seconds_add_up_and_change_nothing() -> None:
    model = tiny_model("lstm").pack()
    plain, timed = model.new_state(1), model.new_state(1)
    seconds = torch.zeros(len(ops.STEP_STAGES), dtype=torch.float64)
    batch = (
        torch.tensor([5, 6, 7]),
        torch.tensor([0, 3], dtype=torch.int32),
        torch.zeros(1, dtype=torch.int32),
    )
    assert torch.equal(model(*batch, plain), model(*batch, timed, stage_seconds=seconds))
    assert plain.snapshot(0) == timed.snapshot(0)
    assert bool((seconds > 0).all())
    first = seconds.clone()
    model(*batch, timed, stage_seconds=seconds)
    assert bool((seconds > first).all())
    with pytest.raises(ValueError, match="stage_seconds: expected shape"):
        model(*batch, timed, stage_seconds=torch.zeros(3, dtype=torch.float64))
