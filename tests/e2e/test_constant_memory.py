"""P2 on a real process: the state's bytes and the server's memory do not grow with the prompt."""

from pathlib import Path

import httpx
import pytest

from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.e2e.long_prompts import peak_memory_of_append, session_after
from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint, tiny_config


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_state_bytes_are_the_formula_whatever_the_length(cell: str, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", cell)
    with serve_process(checkpoint) as serve, httpx.Client(base_url=serve.url, timeout=300) as client:
        costs = [session_after(client, num_tokens)["state_bytes"] for num_tokens in (1, 1_000, 50_000)]
    assert costs == [state_bytes(tiny_config(cell))] * 3


def test_peak_memory_of_200000_tokens_is_that_of_10000(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    short, long = (peak_memory_of_append(checkpoint, num_tokens) for num_tokens in (10_000, 200_000))
    assert long <= 1.05 * short, f"{short:,} bytes for 10,000 tokens, {long:,} for 200,000"
