from typing import Any

import pytest
import torch

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_bytes, state_parts
from pararnn_core.state import RecurrentState, StatePart, StateSnapshot, StateTransit
from tests.fixtures import tiny_config

CONFIGS = [
    tiny_config("gru"),
    tiny_config(
        "lstm", conv_kernel=3, activation_dtype="bfloat16", hidden_size=15, num_heads=3, vocab_size=300
    ),
]


def filled(config: ModelConfig, num_slots: int = 3) -> RecurrentState:
    state = RecurrentState(state_parts(config), num_slots)
    for pool in (state["cell"], state["last_hidden"], state["conv"]):
        pool.copy_(torch.randn(pool.shape))
    state.seen.copy_(torch.randint(0, 256, state.seen.shape, dtype=torch.uint8))
    return state


def slots(state: RecurrentState) -> list[StateSnapshot]:
    return [state.snapshot(slot) for slot in range(state.num_slots)]


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({}, 2 * 32 * 4 + 2 * 3 * 32 * 4 + 32 * 4 + 33),
        ({"cell": "lstm"}, 2 * 2 * 32 * 4 + 2 * 3 * 32 * 4 + 32 * 4 + 33),
        ({"activation_dtype": "bfloat16", "conv_kernel": 2}, 2 * 32 * 4 + 2 * 32 * 2 + 32 * 4 + 33),
        ({"vocab_size": 272}, 2 * 32 * 4 + 2 * 3 * 32 * 4 + 32 * 4 + 34),
        ({"vocab_size": 273}, 2 * 32 * 4 + 2 * 3 * 32 * 4 + 32 * 4 + 35),
    ],
    ids=str,
)
def test_state_bytes_is_cell_conv_last_hidden_and_seen(over: dict[str, Any], expected: int) -> None:
    over = {"cell": "gru", "vocab_size": 264, "bos_token_id": None, "eos_token_id": None, **over}
    assert state_bytes(tiny_config(**over)) == expected


def test_state_bytes_of_another_activation_dtype() -> None:
    assert state_bytes(tiny_config()) - state_bytes(tiny_config(), "bfloat16") == 2 * 3 * 32 * 2


@pytest.mark.parametrize("config", CONFIGS, ids=["gru", "lstm"])
def test_snapshot_has_state_bytes_and_the_pool_has_them_per_slot(config: ModelConfig) -> None:
    state = filled(config)
    snapshot = state.snapshot(1)
    assert snapshot.nbytes == state_bytes(config) == len(snapshot.to_bytes())
    assert snapshot.buffer.untyped_storage().nbytes() == state_bytes(config)
    assert state.nbytes == state_bytes(config) * state.num_slots


@pytest.mark.parametrize("config", CONFIGS, ids=["gru", "lstm"])
def test_restored_slot_equals_the_snapshot_and_others_stay(config: ModelConfig) -> None:
    state = filled(config)
    before = slots(state)
    state.poison(2)
    state.restore(2, before[1])
    assert slots(state) == [before[0], before[1], before[1]]
    assert torch.equal(state["cell"][:, 2], state["cell"][:, 1])
    assert torch.equal(state["conv"][:, 2], state["conv"][:, 1])


@pytest.mark.parametrize("config", CONFIGS, ids=["gru", "lstm"])
def test_snapshot_survives_bytes(config: ModelConfig) -> None:
    snapshot = filled(config).snapshot(0)
    again = StateSnapshot.from_bytes(state_parts(config), snapshot.to_bytes())
    assert again == snapshot
    again.views()["cell"][0, 0, 0] = 7.0
    assert again != snapshot


@pytest.mark.parametrize("config", CONFIGS, ids=["gru", "lstm"])
def test_transit_between_devices_loses_nothing_and_keeps_nothing(config: ModelConfig) -> None:
    state = filled(config)
    transit = StateTransit(state.parts, torch.device("cpu"))
    first, second = (state.snapshot(slot) for slot in (1, 2))
    views = (state["cell"][:, 1], state["last_hidden"][1], state["conv"][:, 1], state.seen[1])
    taken = StateSnapshot(state.parts, transit.out(views))
    parts = transit.into(second.buffer)
    assert taken == first
    for name, view in second.views().items():
        assert torch.equal(parts[name].view(torch.uint8), view.view(torch.uint8))


def test_state_of_another_activation_dtype_is_refused_in_words() -> None:
    wide, narrow = (filled(tiny_config(activation_dtype=name)) for name in ("float32", "bfloat16"))
    with pytest.raises(ValueError, match=r"snapshot: with activations in bfloat16, .* they are float32"):
        wide.restore(0, narrow.snapshot(0))


def test_snapshot_and_clone_own_their_memory() -> None:
    state = filled(CONFIGS[0])
    snapshot = state.snapshot(0)
    clone = snapshot.clone()
    state.reset(0)
    snapshot.buffer.zero_()
    assert state.snapshot(0) == snapshot
    assert clone != snapshot


def test_snapshot_equality_is_bitwise() -> None:
    state = filled(CONFIGS[0])
    state.poison(0)
    assert state.snapshot(0) == state.snapshot(0)
    state.reset(0)
    zero = state.snapshot(0)
    state["cell"][0, 0, 0, 0] = -0.0
    assert state.snapshot(0) != zero


def test_reset_poison_and_copy_touch_one_slot() -> None:
    state = filled(CONFIGS[1])
    before = slots(state)
    state.copy(0, 2)
    assert slots(state) == [before[0], before[1], before[0]]
    state.reset(2)
    assert not state.snapshot(2).buffer.any()
    state.poison(1)
    assert state["cell"][:, 1].isnan().all()
    assert state["conv"][:, 1].isnan().all()
    assert state["last_hidden"][1].isnan().all()
    assert state.seen[1].eq(0xFF).all()
    assert slots(state)[0] == before[0]
    assert not state.snapshot(2).buffer.any()


@pytest.mark.parametrize("slot", [-1, 3])
def test_slot_outside_of_the_pool_is_refused(slot: int) -> None:
    state = filled(CONFIGS[0])
    snapshot = state.snapshot(0)
    for call in (
        lambda: state.reset(slot),
        lambda: state.poison(slot),
        lambda: state.copy(0, slot),
        lambda: state.copy(slot, 0),
        lambda: state.snapshot(slot),
        lambda: state.restore(slot, snapshot),
    ):
        with pytest.raises(ValueError, match=rf"slot must be in \[0, 3\), got {slot}"):
            call()
    assert state.snapshot(0) == snapshot


def test_foreign_snapshot_is_refused() -> None:
    state = filled(CONFIGS[0])
    with pytest.raises(ValueError, match="snapshot"):
        state.restore(0, filled(CONFIGS[1]).snapshot(0))
    with pytest.raises(ValueError, match=rf"data.*{state_bytes(CONFIGS[0])} bytes, got 10"):
        StateSnapshot.from_bytes(state_parts(CONFIGS[0]), b"0123456789")


@pytest.mark.parametrize(("num_slots", "device", "name"), [(0, "cpu", "num_slots"), (1, "cuda", "device")])
def test_impossible_pool_is_refused(num_slots: int, device: str, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RecurrentState(state_parts(CONFIGS[0]), num_slots, device)


def test_parts_of_any_shape_make_a_pool() -> None:
    """Matrices by head, as other architectures keep them, beside rows and bits."""
    parts = (
        StatePart("matrices", (3, 2, 4, 4), torch.float32, per_layer=True),
        StatePart("row", (5,), torch.float32),
        StatePart("shift", (3, 7), torch.bfloat16, per_layer=True),
        StatePart("seen", (2,), torch.uint8),
    )
    state = RecurrentState(parts, 2)
    assert [tuple(pool.shape) for pool in state.tensors] == [(3, 2, 2, 4, 4), (2, 5), (3, 2, 7), (2, 2)]
    for pool in state.tensors:
        pool.copy_(torch.randint(0, 9, pool.shape))
    kept = state.snapshot(1)
    assert kept.nbytes == 4 * 3 * 2 * 4 * 4 + 4 * 5 + 2 * 3 * 7 + 2
    assert torch.equal(kept.views()["matrices"], state["matrices"][:, 1])
    state.copy(0, 1)
    assert state.snapshot(1) == state.snapshot(0) != kept
    state.restore(1, StateSnapshot.from_bytes(parts, kept.to_bytes()))
    assert state.snapshot(1) == kept


def test_pool_made_in_inference_mode_lives_outside_of_it() -> None:
    with torch.inference_mode():
        state = RecurrentState(state_parts(CONFIGS[0]), 1)
    state["cell"].add_(1)
    state.reset(0)
    assert not state["cell"].any()
