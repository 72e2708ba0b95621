"""Every bad argument gives one error that begins with its name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core import ops


def ends(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def recurrence_arguments() -> dict[str, Any]:
    return {
        "cell": "lstm",
        "bx": torch.zeros(5, 3, 8),
        "a": torch.zeros(3, 8),
        "c": torch.zeros(2, 8),
        "initial_state": torch.zeros(2, 2, 8),
        "cu_seqlens": ends(0, 3, 5),
    }


def slot_arguments() -> dict[str, Any]:
    common = {name: value for name, value in recurrence_arguments().items() if name != "initial_state"}
    held = torch.ones(2, dtype=torch.bool)
    state = torch.zeros(4, 2, 8)
    return {**common, "slots": ends(1, 3), "has_initial_state": held, "state": state, "bias": None}


def conv_arguments() -> dict[str, Any]:
    return {
        "v": torch.zeros(5, 8),
        "weight": torch.zeros(8, 4),
        "bias": torch.zeros(8),
        "activation": "silu",
        "cu_seqlens": ends(0, 3, 5),
        "slots": ends(1, 3),
        "has_initial_state": torch.ones(2, dtype=torch.bool),
        "conv_state": torch.zeros(4, 3, 8),
    }


def refused(operation: Callable[..., Tensor], arguments: dict[str, Any], name: str, value: Any) -> str:
    operation(**arguments)
    with pytest.raises(RuntimeError) as error:
        operation(**{**arguments, name: value})
    first_line = str(error.value).splitlines()[0]
    assert first_line.startswith(f"{name}: "), first_line
    return first_line


SHARED_MISTAKES = [
    ("cu_seqlens", torch.tensor([0, 3, 5]), "int32"),
    ("cu_seqlens", ends(1, 3, 5), "start at 0"),
    ("cu_seqlens", ends(0, 6, 5), "must not fall"),
    ("cu_seqlens", ends(0, 3, 4), "end at the number of tokens 5"),
    ("cu_seqlens", ends(), "at least one"),
]
SLOT_MISTAKES = [
    *SHARED_MISTAKES,
    ("slots", ends(1, 1), "twice"),
    ("slots", ends(1, 4), r"[0, 4)"),
    ("slots", ends(-2, 0), "-2"),
    ("slots", ends(1), "shape (2)"),
    ("has_initial_state", torch.ones(3, dtype=torch.bool), "shape (2)"),
    ("has_initial_state", torch.ones(2), "bool"),
]
CELL_MISTAKES = [
    ("cell", "rnn", "gru"),
    ("bx", torch.zeros(5, 2, 8), "(*, 3, *)"),
    ("bx", torch.zeros(5, 3, 8, dtype=torch.float64), "float32"),
    ("bx", torch.zeros(8, 3, 5).transpose(0, 2), "contiguous"),
    ("a", torch.zeros(3, 9), "(3, 8)"),
    ("c", torch.zeros(3, 8), "(2, 8)"),
    ("c", None, "needs its peepholes"),
]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *SHARED_MISTAKES,
        *CELL_MISTAKES,
        ("initial_state", torch.zeros(2, 1, 8), "(2, 2, 8)"),
        ("initial_state", torch.zeros(3, 2, 8), "(2, 2, 8)"),
    ],
)
def test_recurrence_names_the_bad_argument(name: str, value: Any, words: str) -> None:
    assert words in refused(ops.recurrence, recurrence_arguments(), name, value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *SLOT_MISTAKES,
        *CELL_MISTAKES,
        ("bias", torch.zeros(3, 1), "(3, 8)"),
        ("bias", torch.zeros(3, 8, dtype=torch.float64), "float32"),
        ("state", torch.zeros(4, 1, 8), "(*, 2, 8)"),
        ("state", torch.zeros(4, 2, 8, dtype=torch.bfloat16), "float32"),
        ("state", torch.zeros(4, 2, 16)[:, :, ::2], "contiguous"),
    ],
)
def test_recurrence_by_slots_names_the_bad_argument(name: str, value: Any, words: str) -> None:
    assert words in refused(ops.recurrence_, slot_arguments(), name, value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *SLOT_MISTAKES,
        ("v", torch.zeros(5, 8, dtype=torch.bfloat16), "float32"),
        ("weight", torch.zeros(8, 9), "1 to 8"),
        ("weight", torch.zeros(7, 4), "(8, *)"),
        ("bias", torch.zeros(9), "(8)"),
        ("activation", "relu", "silu"),
        ("conv_state", torch.zeros(4, 4, 8), "(*, 3, 8)"),
        ("conv_state", torch.zeros(4, 3, 8, dtype=torch.float16), "float32"),
    ],
)
def test_convolution_names_the_bad_argument(name: str, value: Any, words: str) -> None:
    assert words in refused(ops.causal_conv1d_, conv_arguments(), name, value)


def test_a_refused_call_changes_no_state() -> None:
    arguments = conv_arguments()
    arguments["conv_state"].fill_(3.0)
    with pytest.raises(RuntimeError):
        ops.causal_conv1d_(**{**arguments, "slots": ends(0, 0)})
    assert torch.equal(arguments["conv_state"], torch.full((4, 3, 8), 3.0))


def test_peepholes_are_refused_for_the_gru() -> None:
    with pytest.raises(RuntimeError, match=r"^c: "):
        ops.recurrence(
            "gru",
            torch.zeros(1, 3, 4),
            torch.zeros(3, 4),
            torch.zeros(2, 4),
            torch.zeros(1, 1, 4),
            ends(0, 1),
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: ops.pack(torch.zeros(4, 4, dtype=torch.float16)),
            "weight: expected dtype float32 or bfloat16",
        ),
        (lambda: ops.pack(torch.zeros(4, 0)), "weight: no dimension may be 0"),
        (lambda: ops.pack(torch.zeros(4, 8)[::2]), "weight: must be contiguous"),
        (lambda: ops.pack(torch.zeros(2, 4, 3)), "weight: expected shape (O, I) or (H, I, gates, O)"),
        (
            lambda: ops.pack(torch.zeros(4, 8), out=torch.zeros(64, dtype=torch.uint8)),
            "packed: expected shape (512)",
        ),
        (
            lambda: ops.linear(torch.zeros(2, 4), ops.pack(torch.zeros(4, 4))._replace(outputs=40)),
            "packed: expected shape",
        ),
        (
            lambda: ops.linear(torch.zeros(2, 4), ops.pack(torch.zeros(4, 4))._replace(group_size=32)),
            "group_size: only for integers, got 32",
        ),
        (
            lambda: ops.linear(torch.zeros(2, 5), ops.pack(torch.zeros(4, 4))),
            "x: expected shape (*, 4)",
        ),
        (
            lambda: ops.embedding(torch.tensor([0, 4]), ops.pack(torch.zeros(4, 2))),
            "tokens: 4 is not in [0, 4)",
        ),
        (
            lambda: ops.embedding(torch.tensor([-1]), ops.pack(torch.zeros(4, 2))),
            "tokens: -1 is not in [0, 4)",
        ),
        (lambda: ops.rms_norm(torch.zeros(2, 4), torch.zeros(5), 1e-6), "weight: expected shape (4)"),
        (lambda: ops.silu_mul(torch.zeros(2, 4), torch.zeros(2, 5)), "up: expected shape (2, 4)"),
        (
            lambda: ops.add_scaled(torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, 4)),
            "scale: expected shape (1)",
        ),
        (lambda: ops.set_num_threads(0), "count: expected 1 to 1024 threads, got 0"),
    ],
)
def test_other_operations_name_the_bad_argument(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(RuntimeError) as error:
        call()
    assert str(error.value).startswith(words)


def test_gate_order_is_one_of_two() -> None:
    with pytest.raises(RuntimeError, match=r'^gate_order: expected "gate_then_norm"'):
        ops.gated_rms_norm(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(4), 1e-6, "both")


def test_block_bias_must_fit_the_weight() -> None:
    with pytest.raises(RuntimeError, match=r"^bias: expected shape \(3, 8\)"):
        ops.linear(torch.zeros(1, 8), ops.pack(torch.zeros(2, 4, 3, 4)), torch.zeros(3, 12))
