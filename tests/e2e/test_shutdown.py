"""The end of a server process: drained, out of time, at once; and starts that fail."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.serve_process import ServeProcess, serve_process
from tests.fixtures import tiny_checkpoint

FOREVER = 100_000
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


class Reader(threading.Thread):
    """Reads a stream to its end, also a sudden one; `begun` once its headers are there."""

    def __init__(self, url: str, **fields: Any) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._body = {"prompt": "the", "ignore_eos": True, "stream": True, **fields}
        self.begun = threading.Event()
        self.data: list[str] = []
        self.start()
        assert self.begun.wait(30)

    def run(self) -> None:
        path = f"{self._url}/v1/completions"
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream("POST", path, json=self._body) as response,
        ):
            self.begun.set()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.data.append(line.removeprefix("data: "))


def end(serve: ServeProcess) -> int:
    return serve.process.wait(timeout=30)


def test_sigterm_lets_running_replies_finish_and_takes_no_new_ones(checkpoint: Path) -> None:
    with (
        serve_process(checkpoint, "--drain-seconds", "60") as serve,
        httpx.Client(base_url=serve.url) as client,
    ):
        assert client.get("/ready").status_code == 200
        reader = Reader(serve.url, max_tokens=2000)
        serve.process.send_signal(signal.SIGTERM)
        while (ready := client.get("/ready")).status_code == 200:
            assert reader.is_alive()
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        refused = client.post("/v1/completions", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert client.get("/health").status_code == 200
        assert reader.is_alive()
        reader.join(60)
        assert reader.data[-1] == "[DONE]"
        assert json.loads(reader.data[-2])["choices"][0]["finish_reason"] == "length"
        assert end(serve) == 0


def test_reply_that_outlives_the_drain_ends_with_an_error(checkpoint: Path) -> None:
    with serve_process(checkpoint, "--drain-seconds", "0.5") as serve:
        reader = Reader(serve.url, max_tokens=FOREVER)
        serve.process.send_signal(signal.SIGTERM)
        assert end(serve) == 0
        reader.join(10)
        assert json.loads(reader.data[-1])["error"]["code"] == "draining"


def test_second_sigterm_ends_at_once(checkpoint: Path) -> None:
    with serve_process(checkpoint, "--drain-seconds", "60") as serve:
        Reader(serve.url, max_tokens=FOREVER)
        serve.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert serve.process.poll() is None
        began = time.monotonic()
        serve.process.send_signal(signal.SIGTERM)
        assert end(serve) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5


def test_sigterm_ends_a_server_whose_template_does_not_end(tmp_path: Path) -> None:
    hostile = tiny_checkpoint(tmp_path / "hostile")
    template = "{% if messages[0].content == 'go' %}" + ENDLESS + "{% endif %}{{ messages[0].content }}"
    (hostile / "chat_template.jinja").write_text(template)
    body = {"messages": [{"role": "user", "content": "go"}], "max_tokens": 1}
    with serve_process(hostile, "--template-seconds", "1", "--drain-seconds", "0") as serve:
        url = f"{serve.url}/v1/chat/completions"
        refused = httpx.post(url, json=body, timeout=60)
        assert refused.status_code == 400
        assert "--template-seconds" in refused.json()["error"]["message"]
        thread = threading.Thread(target=_post, args=(url, body))
        thread.start()
        assert httpx.get(f"{serve.url}/health", timeout=5).status_code == 200
        serve.process.send_signal(signal.SIGTERM)
        assert end(serve) == 0
        thread.join()


def _post(url: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(url, json=body, timeout=60)


def without_the_last_byte(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def with_an_endless_template(checkpoint: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text(ENDLESS)


@pytest.mark.parametrize(
    ("damage", "named"),
    [(without_the_last_byte, "model.safetensors"), (with_an_endless_template, "--template-seconds")],
)
def test_broken_checkpoint_is_one_error_and_no_server(
    damage: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    broken = tiny_checkpoint(tmp_path / "broken")
    damage(broken)
    command = [sys.executable, "-m", "pararnn_server", "serve", "--port", "0", "--log-level", "error"]
    ended = subprocess.run(
        [*command, "--checkpoint", str(broken)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
