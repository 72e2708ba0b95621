"""Bytes to a server and back, without a client library between."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.server.http_server import HttpServer

COMPLETION = {"prompt": "the", "max_tokens": 2, "seed": 1}


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def address(server: HttpServer) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@contextlib.contextmanager
def open_socket(server: HttpServer, seconds: float = 20.0) -> Iterator[socket.socket]:
    with socket.create_connection(address(server), timeout=seconds) as client:
        yield client


def head(line: str, headers: Mapping[str, str] | None = None) -> bytes:
    fields = {"host": "localhost", **(headers or {})}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(
    path: str = "/v1/completions",
    body: Any = COMPLETION,
    headers: Mapping[str, str] | None = None,
    version: str = "1.1",
) -> bytes:
    data = json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
    return head(f"POST {path} HTTP/{version}", fields) + data


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes or resets the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            received += data
    return received


def read_answer(client: socket.socket) -> RawAnswer:
    """One answer with a content-length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(1)
        assert data, received
        received += data
    answer = parse(received)
    length = int(answer.headers["content-length"])
    body = b""
    while len(body) < length:
        data = client.recv(length - len(body))
        assert data, received
        body += data
    return RawAnswer(answer.status, answer.headers, body)


def parse(received: bytes) -> RawAnswer:
    top, _, body = received.partition(b"\r\n\r\n")
    line, *fields = top.decode("latin-1").split("\r\n")
    pairs = (field.partition(": ") for field in fields)
    return RawAnswer(int(line.split(" ")[1]), {name.lower(): value for name, _, value in pairs}, body)


def ask(server: HttpServer, data: bytes) -> RawAnswer:
    """The answer to a request after which the server closes the connection."""
    with open_socket(server) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        return parse(read_all(client))
