"""No key uses the slots that are kept for others, and no usable slot stays idle."""

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.access.shares import Shares
from pararnn_server.engine.scheduler import Scheduler
from pararnn_server.models.loading import Loaded

from tests.server.http_server import ENDLESS, connection, eventually, serving

SLOTS, KEYS = 12, ("ada", "bob", "eve")


def scheduler() -> Scheduler:
    return Scheduler(SLOTS, 512, num_owners=len(KEYS))


def add(to: Scheduler, owner: str, count: int, num_choices: int = 1) -> list[str]:
    names = [f"{owner}-{to.num_running + to.num_waiting}-{number}" for number in range(count)]
    for name in names:
        to.add(name, 4, num_choices, owner)
    return names


def admitted(of: Scheduler) -> list[str]:
    return [each.request_id for each in of.admit()]


def test_one_key_has_everything() -> None:
    shares = Shares(SLOTS)
    assert (shares.own, shares.most, shares.room("")) == (0, SLOTS, SLOTS)


def test_a_key_that_asks_for_everything_leaves_the_others_their_own() -> None:
    queue = scheduler()
    add(queue, "ada", 50)
    assert len(admitted(queue)) == SLOTS - 2 * 2
    add(queue, "bob", 3)
    assert [name.split("-")[0] for name in admitted(queue)] == ["bob", "bob"]
    assert queue.num_free_slots == 2
    add(queue, "eve", 1)
    assert [name.split("-")[0] for name in admitted(queue)] == ["eve"]


def test_a_slot_that_becomes_free_goes_to_the_key_with_the_fewest() -> None:
    queue = scheduler()
    first = add(queue, "ada", 50)
    queue.admit()
    add(queue, "bob", 10)
    queue.admit()
    for name in first[:3]:
        queue.finish(name, 0)
    assert [name.split("-")[0] for name in admitted(queue)] == ["bob"] * 3


def test_a_request_for_many_slots_is_not_passed_for_ever() -> None:
    queue = scheduler()
    names = add(queue, "ada", 8)
    queue.admit()
    [big] = add(queue, "bob", 1, num_choices=6)
    add(queue, "ada", 8)
    for name in names[:5]:
        queue.finish(name, 0)
    assert admitted(queue)[0] == big


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(1, 8), st.booleans()), max_size=60))
def test_a_key_within_its_own_share_never_waits(steps: list[tuple[str, int, bool]]) -> None:
    """Requests of other keys, running or waiting, make no difference."""
    queue, running, waiting = scheduler(), dict[str, tuple[str, int]](), dict[str, str]()
    own, most = Shares(SLOTS, len(KEYS)).own, Shares(SLOTS, len(KEYS)).most
    for number, (owner, num_choices, ends) in enumerate(steps):
        if ends and running:
            name, (_, choices) = running.popitem()
            for choice in range(choices):
                queue.finish(name, choice)
        name = f"{number}"
        before = sum(choices for of, choices in running.values() if of == owner)
        waited = any(of == owner for of in waiting.values())
        queue.add(name, 4, num_choices, owner)
        waiting[name] = owner
        got = {each.request_id for each in queue.admit()}
        waiting = {each: of for each, of in waiting.items() if each not in got}
        running |= {each: entry for each, entry in asked(steps).items() if each in got}
        if before + num_choices <= own and not waited:
            assert name in got
        held = [sum(choices for of, choices in running.values() if of == key) for key in KEYS]
        assert max(held) <= most
        assert sum(held) == SLOTS - queue.num_free_slots


def asked(steps: list[tuple[str, int, bool]]) -> dict[str, tuple[str, int]]:
    return {f"{number}": (owner, choices) for number, (owner, choices, _) in enumerate(steps)}


def test_a_key_that_fills_slots_and_queue_keeps_nobody_else_from_a_reply(loaded: Loaded) -> None:
    keys = {name: f"{name}-0123456789abcdef" for name in ("ada", "bob")}
    api_keys = ",".join(f"{name}:{key}" for name, key in keys.items())
    with (
        serving(
            loaded, key=keys["ada"], api_keys=api_keys, max_num_seqs=4, max_queue=4, max_num_batched_tokens=64
        ) as server,
        ExitStack() as open_connections,
    ):
        for _ in range(12):
            open_connections.enter_context(connection(server, ENDLESS, key=keys["ada"]))
        eventually(lambda: server.service.models.get().engine.stats().state_slots_used == 3)
        refused = server.post("/v1/completions", {"prompt": "the"})
        assert refused.json()["error"]["code"] == "queue_full"
        bob = {"headers": {"authorization": f"Bearer {keys['bob']}"}}
        answer = server.post("/v1/completions", {"prompt": "the", "max_tokens": 4, "ignore_eos": True}, **bob)
        assert answer.json()["usage"]["completion_tokens"] == 4
        too_many = server.post("/v1/completions", {"prompt": "the", "n": 4}, **bob)
        assert too_many.status_code == 400
