"""No change of the code changes a bit of the shipped models, of their sessions or of their exports."""

import pytest

from pararnn_core import ops
from tests.golden_bits import MADE, SHIPPED, Bits, bits_at, differences, levels

LEVELS = levels()


@pytest.fixture(scope="module")
def found() -> dict[str, Bits]:
    return bits_at([level for level in LEVELS if level in ops.available_isa_levels()])


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_bits_are_those_of_the_golden_file(level: str, found: dict[str, Bits]) -> None:
    if level not in ops.available_isa_levels():
        pytest.skip(f"this machine has no {level}")
    assert sorted(differences(found[level], LEVELS[level])) == []


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_every_shipped_model_is_in_the_golden_file(level: str) -> None:
    assert {folder.name for folder in SHIPPED} | {"cells", *MADE} == LEVELS[level].keys()
