"""The pool's size from free memory, in numbers and in words."""

from dataclasses import replace

import pytest

from pararnn_core.device.matrix import BLOCK_WEIGHTS
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.device_memory import pool_size, step_bytes, too_large
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig
from tests.fixtures import tiny_config

MIB = 1 << 20


def test_pool_has_what_is_asked_for_where_it_fits() -> None:
    size = pool_size(free=100 * MIB, working=20 * MIB, bytes_per_slot=MIB, asked=64, spare=1)
    assert size.num_slots == 64
    assert size.explanation == (
        "64 requests run at once, in 65.0 MiB of states; 79 would fit: 100.0 MiB of device memory are free"
        " beside the weights, a step takes up to 20.0 MiB and a state with its copy 1.0 MiB"
    )


def test_pool_has_what_fits_where_less_does_and_says_so() -> None:
    size = pool_size(free=100 * MIB, working=20 * MIB, bytes_per_slot=3 * MIB, asked=64, spare=1)
    assert size.num_slots == 80 // 3 - 1
    assert size.explanation.startswith("25 requests run at once instead of 64: 100.0 MiB")


@pytest.mark.parametrize(("free", "working"), [(21 * MIB, 20 * MIB), (10 * MIB, 20 * MIB), (0, 0)])
def test_pool_without_room_for_one_state_is_an_error_with_the_numbers(free: int, working: int) -> None:
    with pytest.raises(ValueError, match=r"no state of a session fits: .* and a state with its copy 1.0 MiB"):
        pool_size(free, working, bytes_per_slot=MIB, asked=64, spare=1)


@pytest.mark.parametrize("spare", [0, 1])
def test_pool_never_takes_more_than_is_free(spare: int) -> None:
    for free in range(30 * MIB, 60 * MIB, MIB // 3):
        size = pool_size(free, 20 * MIB, 2 * MIB - 5, asked=1000, spare=spare)
        used = 20 * MIB + (size.num_slots + spare) * (2 * MIB - 5)
        assert used <= free < used + 2 * MIB


def test_working_memory_grows_with_the_tokens_of_a_step_alone() -> None:
    config = ModelConfig.preset("1.4b")
    assert step_bytes(config, 1024) == 2 * step_bytes(config, 512)
    assert step_bytes(config, 512) > 512 * config.vocab_size * 4


def dequantised_bytes(config: ModelConfig, quantization: QuantizationConfig) -> int:
    """Rows of quantised matrices are those of bfloat16 ones."""
    quantized = replace(config, dtype="float32", quantization=quantization)
    return step_bytes(quantized, 8) - step_bytes(replace(config, dtype="bfloat16"), 8)


def test_working_memory_of_a_quantised_model_holds_the_block_that_is_dequantised() -> None:
    large = ModelConfig.preset("7b")
    assert dequantised_bytes(large, QuantizationConfig("round", 4, 128)) == 2 * BLOCK_WEIGHTS
    small = tiny_config(num_heads=1, intermediate_size=64)
    assert dequantised_bytes(small, QuantizationConfig("round", 8, 128)) == 2 * 32 * 265


@pytest.mark.parametrize(
    ("heads", "quantization"),
    [(2, QuantizationConfig("round", 8, 128)), (1, QuantizationConfig("round", 4, 48))],
    ids=["inputs of a head", "groups"],
)
def test_working_memory_holds_the_float32_block_of_what_the_kernels_do_not_take(
    heads: int, quantization: QuantizationConfig
) -> None:
    small = tiny_config(num_heads=heads, intermediate_size=64)
    assert dequantised_bytes(small, quantization) == 3 * 4 * 32 * 265


def test_rows_of_bfloat16_weights_take_less_working_memory() -> None:
    wide = ModelConfig.preset("1.4b")
    narrow = replace(wide, dtype="bfloat16")
    saved = step_bytes(wide, 512) - step_bytes(narrow, 512)
    assert saved == 2 * 512 * 2 * (11 * 2048 + 3 * wide.mlp_hidden_size)


def test_weights_that_do_not_fit_are_told_with_both_numbers() -> None:
    text = too_large(14_000 * MIB, 10_240 * MIB, "cuda:0")
    assert text.startswith("its weights need 13.7 GiB of the memory of cuda:0, and 10.0 GiB are free; ")
