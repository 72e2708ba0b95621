import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core.sampling.rng import Words, philox, uniform

seeds = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter: Words, key: tuple[int, int], expected: Words) -> None:
    assert philox(counter, key) == expected


@pytest.mark.parametrize(
    ("seed", "choice", "output_index", "bits"),
    [
        (0, 0, 0, (0xE169C58D << 32 | 0x6627E8D5) >> 11),
        (1, 0, 0, None),
        (0, 1, 0, None),
        (0, 0, 1, None),
        (-1, 0, 0, None),
    ],
)
def test_uniform_is_fixed_for_ever(seed: int, choice: int, output_index: int, bits: int | None) -> None:
    if bits is None:
        words = philox((output_index, 0, choice, 0), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
        bits = (words[1] << 32 | words[0]) >> 11
    assert uniform(seed, choice, output_index) == bits / 2**53


@settings(deadline=None)
@given(seeds, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_uniform_is_a_multiple_of_2_to_the_minus_53_below_one(
    seed: int, choice: int, output_index: int
) -> None:
    u = uniform(seed, choice, output_index)
    assert 0.0 <= u < 1.0
    assert math.ldexp(u, 53).is_integer()


@settings(deadline=None)
@given(seeds, st.integers(0, 1000), st.integers(0, 1000))
def test_each_counter_gives_its_own_number(seed: int, choice: int, output_index: int) -> None:
    neighbours = {
        uniform(seed, choice, output_index),
        uniform(seed, choice + 1, output_index),
        uniform(seed, choice, output_index + 1),
        uniform(seed ^ 1, choice, output_index),
        uniform(seed ^ (1 << 40), choice, output_index),
    }
    assert len(neighbours) == 5


@pytest.mark.parametrize(("choice", "output_index"), [(-1, 0), (0, -1), (2**32, 0), (0, 2**64)])
def test_a_counter_out_of_range_is_refused(choice: int, output_index: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        uniform(0, choice, output_index)


def test_numbers_are_uniform_over_outputs_and_over_seeds() -> None:
    for series in ([uniform(7, 0, i) for i in range(20_000)], [uniform(s, 0, 0) for s in range(20_000)]):
        bins = [0] * 20
        for u in series:
            bins[int(u * 20)] += 1
        chi_square = sum((count - 1000) ** 2 / 1000 for count in bins)
        assert chi_square < 52.4  # 19 degrees of freedom, p = 5e-5; the numbers are fixed
