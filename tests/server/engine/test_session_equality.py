"""A session resumes with the same tokens, scores and state, bit for bit, however it came to its state.

A way is a function from a `World` to a server and a session in that state; WAYS is the table of them.
Every one is compared with one and the same plain session, hence with every other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings

from tests.core.models.rwkv7 import tiny as rwkv7
from tests.redis_server import redis_server
from tests.server.http_server import FOREVER, HttpServer, eventually, serving

FIRST, SECOND, LAST = [5, 80, 33, 7, 120], [9, 200, 41], [17, 3]
REPLY = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}
FILE = {"content-type": "application/octet-stream"}
Place = tuple[HttpServer, str]


@dataclass(frozen=True)
class World:
    """Servers of one model that live as long as the test; `open` starts another."""

    loaded: Loaded
    folder: Path
    stack: ExitStack

    def open(self, **settings: Any) -> HttpServer:
        return self.stack.enter_context(serving(self.loaded, **settings))


def after_reply(server: HttpServer) -> str:
    session_id = server.create_session(tokens=FIRST)
    server.complete("", session_id=session_id, **REPLY)
    return session_id


def append(server: HttpServer, session_id: str) -> None:
    server.answer(f"/v1/sessions/{session_id}/append", {"tokens": SECOND})


def plain(world: World) -> Place:
    server = world.open()
    session_id = after_reply(server)
    append(server, session_id)
    return server, session_id


def fresh(world: World) -> Place:
    """All ids at once, none of them found in the cache."""
    server = world.open(state_cache_bytes=0)
    return server, server.create_session(tokens=all_ids(server))


def found_in_the_cache(world: World) -> Place:
    server = world.open()
    ids = all_ids(server)
    server.complete(ids, max_tokens=0)
    return found(server, ids, len(ids))


def found_in_part(world: World) -> Place:
    server = world.open()
    ids = all_ids(server)
    server.complete(ids[:-2], max_tokens=0)
    return found(server, ids, len(ids) - 2)


def found_at_the_end_of_a_reply(world: World) -> Place:
    """All ids of the reply but its last were fed."""
    server = world.open()
    ids = all_ids(server)
    server.complete(FIRST, **REPLY)
    return found(server, ids, len(FIRST) + int(REPLY["max_tokens"]) - 1)


def found(server: HttpServer, ids: list[int], expected: int) -> Place:
    """Create a session of ids, of which a number is in the cache."""
    before = server.metric("pararnn_prefix_cache_hits_total")
    session_id = server.create_session(tokens=ids)
    assert server.metric("pararnn_prefix_cache_hits_total") - before == expected
    return server, session_id


def all_ids(server: HttpServer) -> list[int]:
    source = after_reply(server)
    append(server, source)
    return tokens_in(server.get(f"/v1/sessions/{source}/state", params={"tokens": "true"}).content)


def forked(world: World) -> Place:
    server = world.open()
    child = server.answer(f"/v1/sessions/{after_reply(server)}/fork", {})["id"]
    append(server, child)
    return server, child


def rolled_back(world: World) -> Place:
    server, session_id = plain(world)
    for _ in range(2):
        server.complete([1, 2, 3], session_id=session_id, **REPLY)
    server.answer(f"/v1/sessions/{session_id}/rollback", {"turns": 2})
    return server, session_id


def back_at_a_snapshot(world: World) -> Place:
    server, session_id = plain(world)
    server.answer(f"/v1/sessions/{session_id}/snapshots", {"name": "here"})
    server.answer(f"/v1/sessions/{session_id}/rollback", {"turns": 2})
    server.complete([1, 2, 3], session_id=session_id, **REPLY)
    server.answer(f"/v1/sessions/{session_id}/rollback", {"snapshot": "here"})
    return server, session_id


def imported(world: World) -> Place:
    server, session_id = plain(world)
    file = server.get(f"/v1/sessions/{session_id}/state").content
    other = world.open()
    return other, other.http.post("/v1/sessions", content=file, headers=FILE).json()["id"]


def imported_over_another(world: World) -> Place:
    server, session_id = plain(world)
    file = server.get(f"/v1/sessions/{session_id}/state").content
    target = server.create_session(tokens=[1, 2, 3])
    server.http.put(f"/v1/sessions/{target}/state", content=file, headers=FILE).raise_for_status()
    return server, target


def demoted_after_every_turn(world: World) -> Place:
    server = world.open(store="sqlite", data_dir=world.folder, host_state_bytes=0)
    session_id = after_reply(server)
    append(server, session_id)
    assert server.get(f"/v1/sessions/{session_id}").json()["tier"] == "store"
    return server, session_id


def kept_in_memory(world: World) -> Place:
    server = world.open(store="sqlite", data_dir=world.folder)
    session_id = after_reply(server)
    append(server, session_id)
    assert server.get(f"/v1/sessions/{session_id}").json()["tier"] == "host"
    return server, session_id


def restarted(world: World) -> Place:
    """Between two turns, and again before the last."""
    with serving(world.loaded, store="sqlite", data_dir=world.folder) as server:
        session_id = after_reply(server)
    with serving(world.loaded, store="sqlite", data_dir=world.folder) as server:
        append(server, session_id)
    return world.open(store="sqlite", data_dir=world.folder), session_id


def moved_to_another_server(world: World) -> Place:
    url = world.stack.enter_context(redis_server(world.folder))
    first, second = world.open(store=url), world.open(store=url)
    session_id = after_reply(first)
    append(second, session_id)
    return first, session_id


def cancelled_and_undone(world: World) -> Place:
    server, session_id = plain(world)
    body = {"prompt": "", "session_id": session_id, "max_tokens": FOREVER, "ignore_eos": True}
    thread = threading.Thread(target=lambda: server.post("/v1/completions", body))
    thread.start()
    path = f"/v1/sessions/{session_id}"
    eventually(lambda: server.get(path).json()["tier"] == "device")
    eventually(lambda: server.metric("pararnn_generation_tokens_total") > 20)
    assert server.answer(f"{path}/cancel", None)["turn"] == 4
    thread.join(20)
    server.answer(f"{path}/rollback", {"turns": 1})
    return server, session_id


def sent_twice(world: World) -> Place:
    server = world.open()
    session_id = server.create_session(tokens=FIRST)
    for path, body in (
        ("/v1/completions", {"prompt": "", "session_id": session_id, **REPLY}),
        (f"/v1/sessions/{session_id}/append", {"tokens": SECOND}),
    ):
        for _ in range(2):
            server.post(path, body, headers={"idempotency-key": path}).raise_for_status()
    return server, session_id


def abandoned_turns_between(world: World) -> Place:
    server, session_id = plain(world)
    late = {"prompt": "", "session_id": session_id, "max_tokens": FOREVER, "ignore_eos": True, "timeout": 0.1}
    assert server.post("/v1/completions", late).status_code == 504
    return server, session_id


WAYS: list[Callable[[World], Place]] = [
    fresh,
    found_in_the_cache,
    found_in_part,
    found_at_the_end_of_a_reply,
    forked,
    rolled_back,
    back_at_a_snapshot,
    imported,
    imported_over_another,
    demoted_after_every_turn,
    kept_in_memory,
    restarted,
    moved_to_another_server,
    cancelled_and_undone,
    sent_twice,
    abandoned_turns_between,
]


def tokens_in(file: bytes) -> list[int]:
    """Return the log, which is the first tensor."""
    start = 8 + int.from_bytes(file[:8], "little")
    count = len(FIRST) + int(REPLY["max_tokens"]) + len(SECOND)
    return [int.from_bytes(file[start + 4 * i : start + 4 * i + 4], "little") for i in range(count)]


def state_in(file: bytes) -> bytes:
    """All but the header."""
    return file[8 + int.from_bytes(file[:8], "little") :]


def course(place: Place) -> tuple[bytes, Any, bytes]:
    """Return the state, the next reply with the scores of 20 alternatives, and the state after it."""
    server, session_id = place
    path = f"/v1/sessions/{session_id}/state"
    before = server.get(path).raise_for_status().content
    answer = server.complete(LAST, session_id=session_id, logprobs=20, **REPLY)
    return state_in(before), answer["choices"], state_in(server.get(path).raise_for_status().content)


@pytest.fixture(scope="module", params=["pararnn", "rwkv7"])
def model(request: pytest.FixtureRequest, loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model of each architecture."""
    if request.param == "pararnn":
        return loaded
    return load(Settings(checkpoint=str(rwkv7.checkpoint(tmp_path_factory.mktemp("rwkv7") / "tiny"))))


@pytest.fixture
def world(model: Loaded, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(model, tmp_path, stack)


@pytest.fixture(scope="module")
def reference(model: Loaded, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any, bytes]:
    with ExitStack() as stack:
        return course(plain(World(model, tmp_path_factory.mktemp("plain"), stack)))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_point_goes_on_alike(
    way: Callable[[World], Place], world: World, reference: tuple[bytes, Any, bytes]
) -> None:
    assert course(way(world)) == reference
