"""P2 at full length, on the models that ship."""

from pathlib import Path

import pytest

from tests.e2e.long_prompts import peak_memory_of_append

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.parent for path in ROOT.glob("checkpoints/*/config.json"))
BYTES_IN_FLIGHT = 64
"""A token id on its way: JSON text, a parsed integer, the request's list, the session's log."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("checkpoint", SHIPPED, ids=lambda path: path.name)
def test_a_million_tokens_cost_what_ten_thousand_cost_and_their_own_ids(checkpoint: Path) -> None:
    short = peak_memory_of_append(checkpoint, 10_000)
    long = peak_memory_of_append(checkpoint, 1_000_000)
    assert long <= 1.05 * short + 1_000_000 * BYTES_IN_FLIGHT
