"""Both clients against a real server: what they send is accepted, what comes back is understood."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pararnn_client import (
    AsyncPararnnClient,
    BadRequest,
    Conflict,
    NotFound,
    PararnnClient,
    Session,
    Unauthorized,
)
from pararnn_server.models.loading import Loaded

from tests.server.http_server import FOREVER, HttpServer, eventually, serving


def test_a_session_lives_its_whole_life(server: HttpServer) -> None:
    with PararnnClient(server.url) as client:
        session = client.sessions.create(text="the ", metadata={"who": "me"}, ttl_seconds=60)
        assert (session.turn, session.metadata, session.num_tokens > 0) == (1, {"who": "me"}, True)
        longer = client.sessions.append(session.id, text="cat", expected_turn=1)
        assert longer.num_tokens > session.num_tokens
        assert longer.state_bytes == session.state_bytes
        reply = client.sessions.generate(session.id, " sat", max_tokens=4, ignore_eos=True, seed=1)
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 4
        assert client.sessions.get(session.id).turn == 3
        client.sessions.delete(session.id)
        with pytest.raises(NotFound):
            client.sessions.get(session.id)


def test_a_session_branches_and_travels(server: HttpServer) -> None:
    with PararnnClient(server.url) as client:
        session = client.sessions.create(text="the ")
        child = client.sessions.fork(session.id, metadata={"k": "v"}, idempotency_key="fork")
        assert client.sessions.fork(session.id, metadata={"k": "v"}, idempotency_key="fork").id == child.id
        client.sessions.save_snapshot(session.id, "here")
        client.sessions.append(session.id, text="cat", idempotency_key="append")
        assert client.sessions.append(session.id, text="cat", idempotency_key="append").turn == 2
        assert client.sessions.roll_back(session.id, 1).turn == 1
        assert client.sessions.roll_back(session.id, snapshot="here").turn == 1
        client.sessions.delete_snapshot(session.id, "here")
        assert client.sessions.update(session.id, metadata={"who": "me"}).metadata == {"who": "me"}
        file = client.sessions.export(session.id, tokens=True)
        assert client.sessions.import_new(file).num_tokens == session.num_tokens
        assert client.sessions.import_into(child.id, file, expected_turn=1).turn == 2
        replies = [
            client.sessions.generate(child.id, "x", max_tokens=4, seed=1, idempotency_key="reply").text
            for _ in range(2)
        ]
        assert replies[0] == replies[1]
        assert client.sessions.get(child.id).turn == 3


def test_pages_together_hold_every_session_once(server: HttpServer) -> None:
    with PararnnClient(server.url) as client:
        made = {client.sessions.create().id for _ in range(5)}
        found: list[Session] = []
        page = client.sessions.list(limit=2)
        while page.data:
            found += page.data
            page = client.sessions.list(limit=2, after=page.data[-1].id)
        ids = [session.id for session in found]
        assert made <= set(ids)
        assert len(ids) == len(set(ids))
        for session_id in made:
            client.sessions.delete(session_id)


@pytest.mark.parametrize("chat", [False, True])
def test_a_streamed_reply_is_the_whole_one(server: HttpServer, chat: bool) -> None:
    fields = {"max_tokens": 12, "seed": 7, "ignore_eos": True}
    with PararnnClient(server.url) as client:
        if chat:
            messages = [{"role": "user", "content": "hello"}]
            whole = client.chat(messages, **fields)
            pieces = list(client.stream_chat(messages, **fields))
        else:
            whole = client.complete("hello", **fields)
            pieces = list(client.stream("hello", **fields))
    assert "".join(piece.text for piece in pieces) == whole.text
    usage = pieces[-1].usage
    assert usage is not None
    assert usage.cached_tokens == usage.prompt_tokens
    assert replace(usage, cached_tokens=whole.usage.cached_tokens) == whole.usage
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [whole.finish_reason]


def test_the_asyncio_client_gets_what_the_blocking_one_gets(server: HttpServer) -> None:
    async def converse() -> list[str]:
        async with AsyncPararnnClient(server.url) as client:
            session = await client.sessions.create(text="once ")
            async with client.sessions.stream(session.id, "upon", max_tokens=9, seed=2) as chunks:
                pieces = [chunk.text async for chunk in chunks]
            await client.sessions.delete(session.id)
            return pieces

    with PararnnClient(server.url) as client:
        session = client.sessions.create(text="once ")
        blocking = client.sessions.generate(session.id, "upon", max_tokens=9, seed=2)
        client.sessions.delete(session.id)
    assert "".join(asyncio.run(converse())) == blocking.text


def test_leaving_a_stream_ends_the_reply_and_undoes_the_turn(server: HttpServer) -> None:
    with PararnnClient(server.url) as client:
        session = client.sessions.create(text="a")
        with client.sessions.stream(session.id, "b", max_tokens=FOREVER, ignore_eos=True) as chunks:
            next(iter(chunks))
        eventually(lambda: server.busy_slots() == 0)
        eventually(lambda: client.sessions.get(session.id).num_tokens == session.num_tokens)
        client.sessions.delete(session.id)


def test_cancel_ends_the_stream_and_keeps_what_was_delivered(server: HttpServer) -> None:
    with PararnnClient(server.url) as client:
        session = client.sessions.create(text="a")
        with client.sessions.stream(session.id, "b", max_tokens=FOREVER, ignore_eos=True) as chunks:
            pieces = iter(chunks)
            next(pieces)
            with pytest.raises(Conflict):
                client.sessions.append(session.id, text="while busy")
            client.sessions.cancel(session.id)
            reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
        assert reasons == ["cancelled"]
        assert client.sessions.get(session.id).num_tokens > session.num_tokens
        client.sessions.delete(session.id)


def test_a_field_that_is_refused_is_named(server: HttpServer) -> None:
    with PararnnClient(server.url) as client, pytest.raises(BadRequest) as caught:
        client.complete("x", temprature=1)
    assert caught.value.param == "temprature"


def test_a_key_opens_what_is_closed_without_it(loaded: Loaded) -> None:
    with serving(loaded, api_keys="me:0123456789abcdef") as closed:
        with PararnnClient(closed.url) as stranger, pytest.raises(Unauthorized):
            stranger.models()
        with PararnnClient(closed.url, api_key="0123456789abcdef") as owner:
            assert owner.models()["data"]


def test_the_operator_lists_and_watches_the_sessions_of_all_keys(loaded: Loaded) -> None:
    keys, admin = "ada:ada-secret-0123456789", "admin-secret-0123456789"
    with serving(loaded, api_keys=keys, admin_key=admin) as server:
        with PararnnClient(server.url, api_key=keys.partition(":")[2]) as ada:
            made = [ada.sessions.create(metadata={"n": str(number)}) for number in range(3)]
            with pytest.raises(Unauthorized):
                ada.admin_sessions()
        with PararnnClient(server.url, api_key=admin) as client:
            page = client.admin_sessions(sort="id", order="asc", metadata={"n": "1"})
            assert [session.id for session in page.data] == [made[1].id]
            assert page.data[0].raw["owner"] == "ada"
            assert client.admin_sessions(limit=2, search="ADA").has_more
            with client.monitor() as events:
                assert {session.id for session in next(iter(events)).sessions} == {each.id for each in made}


async def _first_event(url: str) -> bool:
    async with AsyncPararnnClient(url) as client, client.monitor() as events:
        async for event in events:
            return event.is_snapshot
    return False


def test_both_clients_read_the_monitor(server: HttpServer) -> None:
    with PararnnClient(server.url) as client, client.monitor() as events:
        assert next(iter(events)).is_snapshot
    assert asyncio.run(_first_event(server.url))
