import asyncio
import threading

from pararnn_server.engine.outputs import OutputDispatcher, OutputQueue
from pararnn_server.engine.request import Started


def test_outputs_of_many_threads_arrive_once_and_in_order() -> None:
    async def run() -> None:
        dispatcher, queue = OutputDispatcher(asyncio.get_running_loop()), OutputQueue()
        emitters = [dispatcher.emitter(queue, thread) for thread in range(4)]

        def work(thread: int) -> None:
            for number in range(2000):
                emitters[thread](Started(str(number)))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        seen: dict[int, list[str]] = {thread: [] for thread in range(4)}
        while sum(map(len, seen.values())) < 8000:
            for thread, output in await asyncio.wait_for(queue.take(), 20):
                assert isinstance(output, Started)
                seen[thread].append(output.request_id)
        assert all(numbers == [str(number) for number in range(2000)] for numbers in seen.values())

    asyncio.run(run())


def test_burst_wakes_the_loop_once() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        dispatcher, queue = OutputDispatcher(loop), OutputQueue()
        emit = dispatcher.emitter(queue, 0)
        for _ in range(100):
            emit(Started("r"))
        assert len(await queue.take()) == 100

    asyncio.run(run())


def test_nudge_wakes_the_reader_with_nothing() -> None:
    async def run() -> None:
        queue = OutputQueue()
        queue.nudge()
        assert await queue.take() == []

    asyncio.run(run())
