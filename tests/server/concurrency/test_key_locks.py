"""A key's work runs once at a time, independently of other keys."""

import asyncio
import gc

from pararnn_server.concurrency.key_locks import KeyLocks


def test_a_key_has_one_lock_and_no_other_key_has_it() -> None:
    locks = KeyLocks()
    lock = locks.of("ada")
    assert locks.of("ada") is lock
    assert locks.of("bob") is not lock


def test_a_lock_that_nobody_uses_is_forgotten() -> None:
    async def run() -> int:
        locks = KeyLocks()
        async with locks.of("ada"):
            assert locks.of("ada").locked()
        gc.collect()
        return len(locks._locks)

    assert asyncio.run(run()) == 0
