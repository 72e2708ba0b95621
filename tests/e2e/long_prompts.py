"""Costs of a session after an append of a given length, measured on a real server process."""

from pathlib import Path

import httpx

from tests.e2e.serve_process import serve_process


def session_after(client: httpx.Client, num_tokens: int) -> dict[str, int]:
    """A new session as the API reports it after one append of ids from 0 to 99."""
    session = client.post("/v1/sessions", json={}).raise_for_status().json()
    body = {"tokens": [i % 100 for i in range(num_tokens)]}
    appended = client.post(f"/v1/sessions/{session['id']}/append", json=body).raise_for_status().json()
    listed: dict[str, int] = client.get(f"/v1/sessions/{session['id']}").raise_for_status().json()
    assert appended["num_tokens"] == listed["num_tokens"] == num_tokens
    return listed


def peak_memory_of_append(checkpoint: Path, num_tokens: int) -> int:
    """Bytes: the most a fresh server ever held while it took that one append."""
    with serve_process(checkpoint) as serve, httpx.Client(base_url=serve.url, timeout=1800) as client:
        session_after(client, num_tokens)
        return serve.peak_memory
