"""Threads that keys share: a key waits for at most one turn of each other key."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.concurrency.fair_threads import FairThreads, current_key


def of_key(key: str, call: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    """Start a call as a request of the key would."""
    context = copy_context()
    context.run(current_key.set, key)

    async def run() -> object:
        return await call()

    return context.run(asyncio.ensure_future, run())


async def blocked(threads: FairThreads, key: str) -> tuple[threading.Event, asyncio.Task[object]]:
    """Occupy one thread for a key until the event is set."""
    begun, ends = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert ends.wait(10)

    task = of_key(key, lambda: threads.run(wait))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    return ends, task


def test_a_key_that_sends_little_waits_for_one_turn_of_a_key_that_sends_much() -> None:
    async def run() -> list[str]:
        threads, order = FairThreads(1, "test"), []
        ends, first = await blocked(threads, "busy")
        many = [of_key("busy", lambda: threads.run(order.append, "busy")) for _ in range(50)]
        await asyncio.sleep(0)
        few = of_key("quiet", lambda: threads.run(order.append, "quiet"))
        await asyncio.sleep(0)
        ends.set()
        await asyncio.gather(first, few, *many)
        return order

    order = asyncio.run(run())
    assert order[0] == "quiet"
    assert order[1:] == ["busy"] * 50


def test_one_key_takes_one_thread_while_another_waits() -> None:
    async def run() -> list[str]:
        threads, order = FairThreads(2, "test"), []
        ends, first = await blocked(threads, "busy")
        more, second = await blocked(threads, "busy")
        waiting = [of_key(key, lambda key=key: threads.run(order.append, key)) for key in ("busy", "quiet")]
        await asyncio.sleep(0)
        more.set()
        await asyncio.gather(second, *waiting)
        ends.set()
        await first
        return order

    assert asyncio.run(run()) == ["quiet", "busy"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20), st.integers(1, 3))
def test_every_call_that_is_not_cancelled_runs_once_and_all_threads_are_free_again(
    calls: list[tuple[str, bool]], num_threads: int
) -> None:
    async def run() -> Counter[int]:
        threads, ran = FairThreads(num_threads, "test"), Counter[int]()

        def call(number: int) -> None:
            ran[number] += 1

        tasks = [of_key(key, lambda i=i: threads.run(call, i)) for i, (key, _) in enumerate(calls)]
        await asyncio.sleep(0)
        for task, (_, is_cancelled) in zip(tasks, calls, strict=True):
            if is_cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        free = [of_key("d", lambda: threads.run(threading.get_ident)) for _ in range(num_threads)]
        await asyncio.wait_for(asyncio.gather(*free), 10)
        return ran

    ran = asyncio.run(run())
    assert all(ran[number] == 1 for number, (_, is_cancelled) in enumerate(calls) if not is_cancelled)
    assert all(count == 1 for count in ran.values())


def test_a_caller_gets_the_error_of_its_function() -> None:
    async def run() -> None:
        threads = FairThreads(1, "test")
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        assert await threads.run(int, "7") == 7

    asyncio.run(run())
