"""Everything that a key can read is the same with and without another key's work, times apart."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.server.app.two_keys import Script, busy, play
from tests.server.http_server import serving
from tests.server.tool_server import random_model

KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_what_a_key_reads_is_the_same_while_another_key_does_all_it_can(tmp_path: Path, store: str) -> None:
    loaded, seen = random_model(), []
    for is_busy in (False, True):
        with serving(
            loaded,
            api_keys=",".join(f"{name}:{key}" for name, key in KEYS.items()),
            admin_key="admin-secret-0123456789",
            store=store,
            data_dir=tmp_path / str(is_busy),
            host_state_bytes=4 * state_bytes(loaded.model.config),
            state_cache_bytes=64 * state_bytes(loaded.model.config),
            max_sessions=18,
            key_max_store_bytes=1 << 20,
        ) as server:
            script = Script(server.url, KEYS["bob"])
            if is_busy:
                with busy(server.url, KEYS["ada"]):
                    play(script)
            else:
                play(script)
            script.close()
            seen.append(script.seen)
            paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert script.routes == routes, "the script calls every route that there is"
    assert len(seen[0]) > 40
    for idle, other in zip(*seen, strict=True):
        assert json.dumps(idle, default=repr) == json.dumps(other, default=repr)
