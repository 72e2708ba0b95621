"""A real server in this process: uvicorn on a free port, an engine over a tiny model, a client."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from pararnn_server.app.app import create_app
from pararnn_server.app.process import uvicorn_config
from pararnn_server.models.loading import Loaded
from pararnn_server.models.service import Service
from pararnn_server.settings.server_settings import Settings

FOREVER = 100_000
"""max_tokens of a reply that is still running whenever a test looks."""
ENDLESS = {"prompt": "the", "max_tokens": FOREVER, "ignore_eos": True}


@dataclass(frozen=True)
class HttpServer:
    url: str
    http: httpx.Client
    service: Service

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json=body, **options)

    def complete(self, prompt: Any, **fields: Any) -> dict[str, Any]:
        return self.answer("/v1/completions", {"prompt": prompt, **fields})

    def chat(self, *contents: str, **fields: Any) -> dict[str, Any]:
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
        return self.answer("/v1/chat/completions", {"messages": messages, **fields})

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        response = self.post(path, body)
        assert response.status_code in (200, 201), response.text
        value = response.json()
        assert isinstance(value, dict)
        return value

    def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Data of every event of a stream that ends as it should."""
        with self.http.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            data = [
                line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")
            ]
        assert data[-1] == "[DONE]"
        return [json.loads(item) for item in data[:-1]]

    def create_session(self, **fields: Any) -> str:
        return str(self.answer("/v1/sessions", fields)["id"])

    def metric(self, name: str) -> float:
        """Sum over labels."""
        lines = self.get("/metrics").text.splitlines()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert found, name
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def is_busy(self, slots: int) -> bool:
        """Return True if this number of slots is in use, also if /metrics needs another key."""
        assert len(self.service.models)
        return self.service.models.get().engine.stats().state_slots_used == slots

    def busy_slots(self) -> float:
        return self.metric("pararnn_state_slots_used")


def counts(answer: dict[str, Any]) -> dict[str, int]:
    """Return the usage without cached tokens, which depend on earlier requests."""
    return {name: count for name, count in answer["usage"].items() if name != "prompt_tokens_details"}


@contextmanager
def serving(
    loaded: Loaded | Sequence[Loaded] | None,
    key: str | None = None,
    send_buffer: int | None = None,
    **settings: Any,
) -> Iterator[HttpServer]:
    """key: sent with every request. send_buffer: bytes the kernel holds for a reader that takes none."""
    models = [] if loaded is None else [loaded] if isinstance(loaded, Loaded) else list(loaded)
    app = create_app(Settings(**{"store": "memory", **settings}), loaded=models)
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = uvicorn.Server(uvicorn_config(app.state.service.settings, app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60.0) as client:
        try:
            yield HttpServer(url, client, app.state.service)
        finally:
            server.should_exit = True
            thread.join(20.0)
            assert not thread.is_alive()


@contextmanager
def connection(
    server: HttpServer, body: dict[str, Any], path: str = "/v1/completions", key: str = ""
) -> Iterator[socket.socket]:
    """A request on a socket of its own, with a receive buffer that is soon full."""
    host, port = server.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {key}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20.0)
        client.connect((host, int(port)))
        client.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(data) + data)
        yield client


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not come true within {seconds} s"
        time.sleep(0.01)
