"""A step's plan: refused arguments, and one transfer that loses nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pararnn_core.device.arguments import StepArguments, check_arguments
from pararnn_core.device.plan import plan_step
from tests.core.batches import poisoned
from tests.core.device.models import on_device
from tests.fixtures import tiny_model


def int32(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def arguments(lengths: list[int], slots: list[int], fresh: list[bool] | None = None) -> StepArguments:
    tokens = torch.arange(sum(lengths))
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    held = None if fresh is None else ~torch.tensor(fresh)
    return check_arguments(tokens, bounds, int32(*slots), held, None, 1000, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", torch.tensor([1, 265, 3])),
        ("tokens", torch.tensor([1, -1, 3])),
        ("tokens", torch.tensor([1.0, 2.0, 3.0])),
        ("tokens", torch.tensor([[1, 2, 3]])),
        ("cu_seqlens", torch.tensor([0, 1, 3])),
        ("cu_seqlens", int32()),
        ("cu_seqlens", int32(0, 3)),
        ("cu_seqlens", int32(0, 1, 4)),
        ("cu_seqlens", int32(1, 2, 3)),
        ("cu_seqlens", int32(0, 4, 3)),
        ("cu_seqlens", int32(0, 3, 3)),
        ("cu_seqlens", int32(0, 0, 3)),
        ("slots", int32(1, 1)),
        ("slots", int32(0, 2)),
        ("slots", int32(0, -2)),
        ("slots", torch.tensor([0, 1])),
        ("has_initial_state", torch.tensor([True])),
        ("has_initial_state", int32(1, 0)),
        ("logits_indices", torch.tensor([3])),
        ("logits_indices", torch.tensor([-1])),
        ("logits_indices", torch.tensor([True, False, True])),
    ],
    ids=str,
)
def test_bad_argument_is_refused_in_the_words_of_the_native_library(name: str, value: Any) -> None:
    packed, device = tiny_model().pack(), on_device(tiny_model())
    given = {
        "tokens": torch.tensor([1, 2, 3]),
        "cu_seqlens": int32(0, 1, 3),
        "slots": int32(0, 1),
        "has_initial_state": torch.tensor([False, False]),
        "logits_indices": None,
        name: value,
    }
    with pytest.raises(ValueError) as expected:
        packed(**given, state=packed.new_state(2))
    state = poisoned(device, 2)
    before = [state.snapshot(slot) for slot in range(2)]
    with pytest.raises(ValueError) as refused:
        device(**given, state=state)
    assert str(refused.value) == str(expected.value)
    assert [state.snapshot(slot) for slot in range(2)] == before


def test_skipped_sequence_writes_what_the_first_other_one_writes() -> None:
    plan = plan_step(arguments([1, 2, 1], [-1, 5, -1], [True, False, True]), bitmap_bytes=125)
    assert plan is not None
    assert plan.homes.tolist() == [5, 5, 5]
    assert plan.slots.tolist() == [-1, 5, -1]
    assert plan.kept[plan.last_rows].tolist() == [2, 2, 2]
    assert plan.kept[plan.logits_rows].tolist() == [0, 2, 3]
    assert plan.has_initial_state.all()
    assert set(zip(plan.seen_bytes.tolist(), plan.seen_bits.tolist(), strict=True)) == {(625, 0b110)}


def test_step_that_skips_all_has_no_plan() -> None:
    assert plan_step(arguments([1, 2], [-1, -1]), bitmap_bytes=125) is None
    assert plan_step(arguments([], []), bitmap_bytes=125) is None


def test_transfer_loses_nothing() -> None:
    plan = plan_step(arguments([3, 1, 4], [7, -1, 2], [True, True, False]), bitmap_bytes=125)
    assert plan is not None
    inputs = plan.on(torch.device("cpu"))
    assert inputs._fields == plan._fields
    for tensor, array in zip(inputs, plan, strict=True):
        assert np.array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype
    assert len({tensor.untyped_storage().data_ptr() for tensor in inputs}) == 1
