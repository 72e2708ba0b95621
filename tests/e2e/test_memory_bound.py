"""Memory of a real server process besides weights and sessions."""

import re
from pathlib import Path

import httpx

from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint, tiny_config

OVERHEAD = 400 * 10**6
SESSIONS = 20


def test_resident_memory_is_weights_and_sessions_and_at_most_400_mb(tmp_path: Path) -> None:
    """Memory is measured after loading and after use, with 34 MB of weights."""
    checkpoint = tiny_checkpoint(tmp_path / "tiny", hidden_size=512, intermediate_size=2048, num_heads=2)
    weights = (checkpoint / "model.safetensors").stat().st_size
    config = tiny_config(hidden_size=512, intermediate_size=2048, num_heads=2)
    with serve_process(checkpoint) as serve, httpx.Client(base_url=serve.url, timeout=300) as client:
        told = re.search(r"([\d.]+) MiB resident: ([\d.]+) MiB of weights, ([\d.]+) MiB for", serve.welcome)
        assert told, serve.welcome
        resident, packed, slots = (float(number) * 2**20 for number in told.groups())
        assert weights * 0.9 <= packed <= weights * 1.1
        assert abs(slots - 64 * state_bytes(config)) <= 0.05e6
        assert resident <= weights + slots + OVERHEAD
        for _ in range(SESSIONS):
            client.post("/v1/sessions", json={"tokens": list(range(100))}).raise_for_status()
        held = (64 + SESSIONS) * state_bytes(config)
        assert serve.resident_memory <= weights + held + OVERHEAD
