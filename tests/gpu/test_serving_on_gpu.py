"""A request over HTTP, answered by a model on a GPU."""

from pathlib import Path

import pytest
import torch

fixtures = pytest.importorskip("tests.fixtures", exc_type=ImportError)
http_server = pytest.importorskip("tests.server.http_server", exc_type=ImportError)
loading = pytest.importorskip("pararnn_server.models.loading", exc_type=ImportError)
settings = pytest.importorskip("pararnn_server.settings.server_settings", exc_type=ImportError)

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]


def test_replies_of_a_server_on_a_gpu_are_those_of_one_on_a_cpu(tmp_path: Path) -> None:
    path = fixtures.tiny_checkpoint(tmp_path / "tiny", activation_dtype="float32")
    texts = []
    for device in ("cpu", "cuda"):
        loaded = loading.load(settings.Settings(checkpoint=str(path), device=device))
        with http_server.serving(loaded, device=device) as server:
            fields = {"max_tokens": 24, "temperature": 0, "ignore_eos": True}
            whole = server.complete("the thing in the other", **fields)["choices"][0]["text"]
            pieces = server.events("/v1/completions", {"prompt": "the thing in the other", **fields})
            assert "".join(piece["choices"][0]["text"] for piece in pieces) == whole
            session = server.create_session(text="the")
            later = server.complete(" thing", session_id=session, **fields)["choices"][0]["text"]
            assert server.metric("pararnn_state_slots_used") == 0
        texts.append((whole, later))
    assert texts[0] == texts[1]
