"""Sessions as files: out of one server and into another, and files that are none."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch
import torch
from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.server.http.routes.test_sessions import error_of
from tests.server.http_server import HttpServer, serving

GREEDY = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}
FILE = {"content-type": "application/octet-stream"}


def export(server: HttpServer, session_id: str, **query: str) -> bytes:
    response = server.get(f"/v1/sessions/{session_id}/state", params=query)
    assert response.status_code == 200, response.text
    return response.content


def upload(server: HttpServer, data: bytes) -> httpx.Response:
    return server.http.post("/v1/sessions", content=data, headers=FILE)


@pytest.fixture
def other(loaded: Loaded) -> Iterator[HttpServer]:
    """Another server of the same model."""
    with serving(loaded) as running:
        yield running


@pytest.mark.parametrize("tokens", ["true", "false"])
def test_an_exported_session_goes_on_elsewhere_as_it_would_have_here(
    server: HttpServer, other: HttpServer, tokens: str
) -> None:
    session_id = server.create_session(text="the thin", metadata={"k": "v"})
    server.complete("in", session_id=session_id, **GREEDY)
    file = export(server, session_id, tokens=tokens)
    imported = upload(other, file)
    assert imported.status_code == 201, imported.text
    here, there = server.get(f"/v1/sessions/{session_id}").json(), imported.json()
    same = ("turn", "num_tokens", "state_bytes", "metadata", "model")
    assert [here[name] for name in same] == [there[name] for name in same]
    assert there["history_bytes"] == (here["history_bytes"] if tokens == "true" else 0)
    answers = [
        one.complete("é", session_id=identity, logprobs=3, **GREEDY)["choices"]
        for one, identity in ((server, session_id), (other, there["id"]))
    ]
    assert answers[0] == answers[1]
    again = export(other, there["id"])
    assert again != file


def test_the_file_is_a_safetensors_file_with_the_published_fields(server: HttpServer) -> None:
    session_id = server.create_session(text="the thin")
    file = export(server, session_id, tokens="true")
    tensors = safetensors.torch.load(file)
    assert set(tensors) == {"tokens", "cell", "last_hidden", "conv", "seen"}
    assert tensors["tokens"].tolist() == server.answer("/tokenize", {"prompt": "the thin"})["tokens"]
    length = int.from_bytes(file[:8], "little")
    fields = json.loads(file[8 : 8 + length])["__metadata__"]
    assert (fields["format"], fields["version"]) == ("pararnn-session", "1")
    assert export(server, session_id, tokens="true") == file


def test_an_import_into_a_session_is_a_turn(server: HttpServer) -> None:
    source, target = server.create_session(text="the thin"), server.create_session(text="in in in")
    path = f"/v1/sessions/{target}/state"
    file = export(server, source, tokens="true")
    stale = server.http.put(path, content=file, headers=FILE, params={"expected_turn": 7})
    assert error_of(stale) == (409, "expected_turn", "turn_conflict")
    once = {**FILE, "idempotency-key": "k"}
    for _ in range(2):
        put = server.http.put(path, content=file, headers=once, params={"expected_turn": 1})
        assert (put.status_code, put.json()["turn"]) == (200, 2)
    answers = [server.complete("é", session_id=one, **GREEDY)["choices"] for one in (source, target)]
    assert answers[0] == answers[1]


def test_the_log_of_a_session_that_came_without_it_cannot_be_exported(server: HttpServer) -> None:
    imported = upload(server, export(server, server.create_session(text="the thin"))).json()["id"]
    refused = server.get(f"/v1/sessions/{imported}/state", params={"tokens": "true"})
    assert error_of(refused)[:2] == (400, "tokens")


class File:
    """An export taken apart, to be put together wrongly."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        self.header: dict[str, Any] = json.loads(data[8 : 8 + length])
        self.body = bytearray(data[8 + length :])

    @property
    def fields(self) -> dict[str, str]:
        fields: dict[str, str] = self.header["__metadata__"]
        return fields

    def data(self) -> bytes:
        text = json.dumps(self.header).encode()
        return struct.pack("<Q", len(text)) + text + self.body


@pytest.fixture
def file(server: HttpServer) -> File:
    return File(export(server, server.create_session(text="the thin"), tokens="true"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "other"),
        ("version", "2"),
        ("fingerprint", "0" * 64),
        ("tokenizer", "0" * 64),
        ("turn", "-1"),
        ("turn", "0"),
        ("num_tokens", "1e3"),
        ("num_tokens", "99"),
        ("num_tokens", "9" * 30),
        ("log_start", "2"),
        ("pending_ids", "[999]"),
        ("pending_ids", "[" * 5000),
        ("pending_ids", "[1,1,1,1,1,1,1,1,1,1,1,1,1]"),
        ("metadata", '{"k": 1}'),
        ("metadata", "[]"),
        ("build_changed", "1"),
        ("tools", "no digest"),
        ("tools", "a" * 33),
    ],
)
def test_a_field_at_fault_is_named(server: HttpServer, file: File, field: str, value: str) -> None:
    file.fields[field] = value
    status, param, code = error_of(upload(server, file.data()))
    assert (status, code) == (400, "invalid_state_file")
    assert param in (field, "log_start", "turn", "tokens")


@pytest.mark.parametrize("name", ["cell", "last_hidden", "conv", "seen", "tokens"])
def test_a_tensor_at_fault_is_named(server: HttpServer, file: File, name: str) -> None:
    entry = file.header[name]
    for key, value in (
        ("dtype", "F16"),
        ("shape", [1 << 40]),
        ("shape", [-1]),
        ("data_offsets", [0, 1 << 40]),
        ("data_offsets", [-8, 8]),
    ):
        file.header[name] = {**entry, key: value}
        assert error_of(upload(server, file.data()))[:2] == (400, name), (key, value)
    file.header[name] = entry
    file.header["extra"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    assert error_of(upload(server, file.data()))[:2] == (400, "extra")


@pytest.mark.parametrize("name", ["cell", "last_hidden", "conv"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_refused(
    server: HttpServer, file: File, name: str, value: float
) -> None:
    start, _ = file.header[name]["data_offsets"]
    file.body[start + 8 : start + 12] = struct.pack("<f", value)
    assert error_of(upload(server, file.data()))[:2] == (400, name)


def test_a_file_that_is_cut_or_too_long_is_refused(server: HttpServer, file: File) -> None:
    data = file.data()
    for wrong in (b"", data[:5], data[:100], data[:-1], data + b"x", data * 2):
        assert error_of(upload(server, wrong))[:2] == (400, "body"), len(wrong)


def test_a_claim_of_10_gb_is_refused_before_it_is_read(server: HttpServer, file: File) -> None:
    def endless() -> Iterator[bytes]:
        yield struct.pack("<Q", 10 << 30)
        for _ in range(10_000):
            yield bytes(1 << 20)

    try:
        response = server.http.post("/v1/sessions", content=endless(), headers=FILE)
        assert error_of(response)[:2] == (400, "body")
    except httpx.TransportError:
        pass  # the server answers and closes while the client still sends
    file.fields["num_tokens"] = str(5 << 30)
    count = 5 << 30
    file.header["tokens"] = {"dtype": "I32", "shape": [count], "data_offsets": [0, 4 * count]}
    assert error_of(upload(server, file.data()))[0] in (400, 413)
    assert server.get("/ready").status_code == 200


def test_another_models_session_is_refused(server: HttpServer, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", seed=5)
    with serving(load(Settings(checkpoint=str(checkpoint)))) as stranger:
        file = export(stranger, stranger.create_session(text="the"))
    assert error_of(upload(server, file))[:2] == (400, "fingerprint")


def test_a_media_type_that_is_not_taken_is_a_415(server: HttpServer, file: File) -> None:
    path = f"/v1/sessions/{server.create_session()}/state"
    assert server.http.put(path, json={}).status_code == 415
    response = server.http.post("/v1/sessions", content=file.data(), headers={"content-type": "text/plain"})
    assert response.status_code == 415


def fuzz(server: HttpServer, data: bytes, count: int, seed: int) -> dict[int, int]:
    """Send randomly damaged files; return the number of answers by status."""
    draw, statuses = random.Random(seed), dict[int, int]()
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            kind = draw.randrange(4)
            at = (
                draw.randrange(len(broken)) if draw.random() < 0.3 else draw.randrange(min(1500, len(broken)))
            )
            if kind == 0:
                broken[at] = draw.randrange(256)
            elif kind == 1:
                del broken[at : at + draw.randint(1, 64)]
            elif kind == 2:
                broken[at:at] = draw.randbytes(draw.randint(1, 64))
            else:
                broken[at] ^= 1 << draw.randrange(8)
            if not broken:
                break
        response = upload(server, bytes(broken))
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        if response.status_code == 201:
            server.http.delete(f"/v1/sessions/{response.json()['id']}").raise_for_status()
        else:
            assert response.json()["error"]["message"]
    return statuses


def _fuzz_and_print(server: HttpServer, file: File, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    statuses = fuzz(server, file.data(), count, seed)
    print(f"seed {seed}: {count} damaged files, answers by status {statuses}")
    assert set(statuses) <= {201, 400, 413}
    assert statuses[400] > count // 4
    assert server.get("/ready").status_code == 200
    assert torch.isfinite(torch.tensor(server.metric("pararnn_sessions")))


def test_damaged_files_are_refused_or_sound_and_the_server_goes_on(server: HttpServer, file: File) -> None:
    _fuzz_and_print(server, file, 150)


@pytest.mark.soak
def test_thousands_of_damaged_files(server: HttpServer, file: File) -> None:
    _fuzz_and_print(server, file, 20_000)
