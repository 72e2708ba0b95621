"""Promises P1 and P3: neither chunks, neighbours, slots nor threads change a bit, and the bits are right."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core import ops
from pararnn_core.models.base import ServingModel
from pararnn_core.state import PAD_SLOT_ID, RecurrentState, StateSnapshot
from tests.core.batches import Chunk, feed, poisoned, run_alone
from tests.core.models.rwkv7 import tiny as rwkv7
from tests.core.step_by_step import run_step_by_step
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model

NUM_SLOTS = 6
VARIANTS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "gru bf16": {"cell": "gru", "dtype": "bfloat16", "gate_order": "norm_then_gate"},
    "lstm bf16": {"cell": "lstm", "dtype": "bfloat16", "activation_dtype": "bfloat16"},
    "gru ragged": {
        "cell": "gru",
        "hidden_size": 21,
        "num_heads": 3,
        "intermediate_size": 37,
        "conv_kernel": 3,
    },
    "lstm ragged": {
        "cell": "lstm",
        "hidden_size": 14,
        "gate_order": "norm_then_gate",
        "activation_dtype": "bfloat16",
        "tie_embeddings": True,
        "residual_scale": "none",
        "mlp_residual": False,
    },
}
RWKV7 = {f"rwkv7 {each}": each for each in ("float32", "bfloat16", "int8", "int4")}
every_variant = pytest.mark.parametrize("variant", [*VARIANTS, *RWKV7])


@functools.cache
def model_of(variant: str) -> ServingModel:
    if variant in RWKV7:
        return rwkv7.model_of(rwkv7.in_format(rwkv7.random_weights(), RWKV7[variant]))
    return tiny_model(**VARIANTS[variant]).pack()


@functools.cache
def alone(variant: str, tokens: tuple[int, ...]) -> tuple[torch.Tensor, StateSnapshot]:
    ops.set_num_threads(1)
    return run_alone(model_of(variant), tokens)


class Traffic(NamedTuple):
    """Prompts by slot, and the steps in which their chunks are fed; a step may hold padding sequences."""

    prompts: dict[int, tuple[int, ...]]
    steps: list[list[Chunk]]
    threads: int


tokens_strategy = st.integers(0, TINY_VOCAB_SIZE - 1)


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    slots = draw(st.lists(st.integers(0, NUM_SLOTS - 1), min_size=1, max_size=4, unique=True))
    prompts = {
        slot: tuple(draw(st.lists(tokens_strategy, min_size=1, max_size=40), label=f"slot {slot}"))
        for slot in slots
    }
    position = dict.fromkeys(slots, 0)
    steps = []
    while waiting := [slot for slot in slots if position[slot] < len(prompts[slot])]:
        going = draw(st.lists(st.sampled_from(waiting), min_size=1, unique=True))
        step = []
        for slot in going:
            start = position[slot]
            position[slot] += draw(st.integers(1, len(prompts[slot]) - start))
            step.append(Chunk(slot, prompts[slot][start : position[slot]], fresh=start == 0))
        if draw(st.booleans()):
            padding = Chunk(
                PAD_SLOT_ID, draw(st.lists(tokens_strategy, min_size=1, max_size=3)), draw(st.booleans())
            )
            step.insert(draw(st.integers(0, len(step))), padding)
        steps.append(step)
    return Traffic(prompts, steps, draw(st.integers(1, 4)))


def drive(
    model: ServingModel, state: RecurrentState, steps: list[list[Chunk]]
) -> Iterator[tuple[int, torch.Tensor]]:
    for step in steps:
        yield from zip([chunk.slot for chunk in step], feed(model, state, step), strict=True)


@every_variant
@settings(max_examples=40)
@given(work=traffic())
def test_chunks_neighbours_slots_and_threads_change_no_bit(variant: str, work: Traffic) -> None:
    model = model_of(variant)
    expected = {slot: alone(variant, prompt) for slot, prompt in work.prompts.items()}
    ops.set_num_threads(work.threads)
    state = poisoned(model, NUM_SLOTS)
    poison = state.snapshot(0)
    rows: dict[int, list[torch.Tensor]] = {slot: [] for slot in (*work.prompts, PAD_SLOT_ID)}
    for slot, logits in drive(model, state, work.steps):
        rows[slot].append(logits)
    for slot in range(NUM_SLOTS):
        if slot not in work.prompts:
            assert state.snapshot(slot) == poison
            continue
        logits, final = expected[slot]
        assert torch.equal(torch.cat(rows[slot]), logits)
        assert state.snapshot(slot) == final


@every_variant
@settings(max_examples=15)
@given(
    first=st.lists(tokens_strategy, min_size=1, max_size=20),
    second=st.lists(tokens_strategy, min_size=1, max_size=20),
    third=st.lists(tokens_strategy, min_size=1, max_size=20),
)
def test_restored_snapshot_continues_bit_for_bit(
    variant: str, first: list[int], second: list[int], third: list[int]
) -> None:
    model = model_of(variant)
    state = poisoned(model, 3)
    feed(model, state, [Chunk(1, first, fresh=True)])
    kept = state.snapshot(1)
    (expected,) = feed(model, state, [Chunk(1, second)])
    final = state.snapshot(1)
    feed(model, state, [Chunk(1, third)])
    for slot in (1, 0):
        state.restore(slot, kept)
        assert torch.equal(feed(model, state, [Chunk(slot, second)])[0], expected)
        assert state.snapshot(slot) == final
    assert final == run_alone(model, [*first, *second])[1]


@every_variant
def test_prefill_equals_step_by_step(variant: str) -> None:
    tokens = [7 * i % TINY_VOCAB_SIZE for i in range(70)]
    model = model_of(variant)
    state = poisoned(model, 1)
    rows = [feed(model, state, [Chunk(0, [token], fresh=i == 0)])[0] for i, token in enumerate(tokens)]
    logits, final = alone(variant, tuple(tokens))
    assert torch.equal(torch.cat(rows), logits)
    assert state.snapshot(0) == final


@every_variant
def test_reused_slot_leaks_nothing(variant: str) -> None:
    model = model_of(variant)
    state = poisoned(model, 2)
    feed(model, state, [Chunk(1, [9, 8, 7, 6, 5], fresh=True), Chunk(0, [1, 2], fresh=True)])
    state.poison(1)
    (logits,) = feed(model, state, [Chunk(1, [3, 4, 5], fresh=True)])
    expected, final = alone(variant, (3, 4, 5))
    assert torch.equal(logits, expected)
    assert state.snapshot(1) == final


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_are_within_the_promised_bound_of_float64(cell: str, dtype: str, seed: int) -> None:
    model = tiny_model(cell, seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, TINY_VOCAB_SIZE, (200,), generator=generator).tolist()
    truth = run_step_by_step(model, tokens, torch.float64)
    stepped = run_step_by_step(model, tokens, torch.float32)
    logits, final = run_alone(model, tokens)
    served = {"logits": logits, **final.views()}
    for name in ("cell", "conv", "last_hidden", "logits"):
        reference = getattr(truth, name)
        scale = reference.abs().max()
        bound = max(1e-5, 4 * ((getattr(stepped, name) - reference).abs().max() / scale).item())
        assert ((served[name] - reference).abs().max() / scale).item() <= bound, name
