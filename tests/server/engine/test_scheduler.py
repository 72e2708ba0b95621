"""The scheduler as pure data, against what every step must keep true."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pararnn_server.engine.scheduler import Admitted, ScheduledBatch, Scheduler


def step(scheduler: Scheduler, busy_prompt_tokens: int = 512) -> ScheduledBatch:
    """Admits and schedules."""
    scheduler.admit()
    return scheduler.schedule(busy_prompt_tokens)


def is_fed(batch: ScheduledBatch, request_id: str) -> bool:
    return any(entry.request_id == request_id and entry.is_last for entry in batch.prefills)


def run_until_fed(scheduler: Scheduler, request_id: str, limit: int = 10_000) -> int:
    """Steps until the prompt of a request is fed."""
    for count in range(1, limit):
        if is_fed(step(scheduler), request_id):
            return count
    raise AssertionError(f"{request_id} was not fed in {limit} steps")


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, steps, ends and aborts, compared with a model that knows only the requests."""

    @initialize(slots=st.integers(1, 6), extra=st.integers(0, 20), busy=st.integers(1, 30))
    def build(self, slots: int, extra: int, busy: int) -> None:
        self.slots, self.budget, self.busy = slots, slots + extra, busy
        self.scheduler = Scheduler(slots, self.budget)
        self.queue: list[str] = []
        self.asked: dict[str, tuple[int, int]] = {}
        self.fed: dict[str, int] = {}
        self.marks: dict[str, list[int]] = {}
        self.held: dict[str, dict[int, int]] = {}
        self.decoding: set[tuple[str, int]] = set()

    @rule(num_tokens=st.integers(0, 60), choices=st.integers(1, 6))
    def add(self, num_tokens: int, choices: int) -> None:
        request_id = f"r{len(self.asked)}"
        choices = min(choices, self.slots)
        self.scheduler.add(request_id, num_tokens, choices)
        self.asked[request_id] = (num_tokens, choices)
        self.queue.append(request_id)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        expected = set(self.decoding)
        admitted = self.scheduler.admit()
        self._check_admission(admitted)
        for one in admitted:
            self._begin(one.request_id, data)
        batch = self.scheduler.schedule(self.busy)
        assert {(decode.request_id, decode.choice) for decode in batch.decodes} == expected
        assert all(self.held[decode.request_id][decode.choice] == decode.slot for decode in batch.decodes)
        self._check_budget(batch)
        self._check_progress(batch)

    def _check_admission(self, admitted: list[Admitted]) -> None:
        for one in admitted:
            assert one.request_id == self.queue.pop(0)
            assert len(one.slots) == self.asked[one.request_id][1]
            taken = {slot for slots in self.held.values() for slot in slots.values()}
            assert not taken & set(one.slots)
            self.held[one.request_id] = dict(enumerate(one.slots))
            self.fed[one.request_id] = 0
            self.marks[one.request_id] = []
        if self.queue:
            assert self.asked[self.queue[0]][1] > self.slots - sum(map(len, self.held.values()))

    def _begin(self, request_id: str, data: st.DataObject) -> None:
        """Some start further on, as from a stored state, and stop at marks."""
        length = self.asked[request_id][0]
        start = data.draw(st.integers(0, length))
        inner = range(start + 1, length)
        marks = sorted(data.draw(st.sets(st.sampled_from(inner), max_size=3))) if inner else []
        self.scheduler.begin(request_id, start, marks)
        self.fed[request_id], self.marks[request_id] = start, marks

    def _room(self, request_id: str) -> int:
        fed = self.fed[request_id]
        ends = [*self.marks[request_id], self.asked[request_id][0]]
        return next((end for end in ends if end > fed), fed) - fed

    def _check_budget(self, batch: ScheduledBatch) -> None:
        prefill_tokens = sum(prefill.num_tokens for prefill in batch.prefills)
        budget = self.budget - len(batch.decodes)
        if batch.decodes:
            budget = min(budget, self.busy)
        wanted = sum(map(self._room, self.fed))
        assert batch.num_tokens == prefill_tokens + len(batch.decodes) <= self.budget
        assert prefill_tokens == min(budget, wanted)
        if self.fed:
            oldest = next(iter(self.fed))
            share = sum(entry.num_tokens for entry in batch.prefills if entry.request_id == oldest)
            assert share >= min(self._room(oldest), (budget + 1) // 2)

    def _check_progress(self, batch: ScheduledBatch) -> None:
        for entry in batch.prefills:
            assert entry.slot == self.held[entry.request_id][0]
            assert entry.start == self.fed[entry.request_id]
            assert entry.num_tokens <= self._room(entry.request_id)
            self.fed[entry.request_id] += entry.num_tokens
            assert entry.is_last == (self.fed[entry.request_id] == self.asked[entry.request_id][0])
            if entry.is_last:
                del self.fed[entry.request_id]
                self.decoding |= {(entry.request_id, choice) for choice in self.held[entry.request_id]}

    @precondition(lambda self: self.decoding)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        request_id, choice = data.draw(st.sampled_from(sorted(self.decoding)))
        self.decoding.remove((request_id, choice))
        assert self.scheduler.finish(request_id, choice) == self.held[request_id].pop(choice)
        if not self.held[request_id]:
            del self.held[request_id]

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.asked)))
        freed = self.scheduler.remove(request_id)
        assert sorted(freed) == sorted(self.held.pop(request_id, {}).values())
        self.fed.pop(request_id, None)
        self.decoding = {pair for pair in self.decoding if pair[0] != request_id}
        if request_id in self.queue:
            self.queue.remove(request_id)

    @invariant()
    def slots_are_neither_shared_nor_lost(self) -> None:
        taken = [slot for slots in self.held.values() for slot in slots.values()]
        assert len(taken) == len(set(taken))
        assert self.scheduler.num_free_slots == self.slots - len(taken)
        assert self.scheduler.num_waiting == len(self.queue)
        assert self.scheduler.num_running == len(self.held)
        assert self.scheduler.has_work == bool(self.queue or self.held)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(2, 64))
def test_a_short_prompt_passes_a_long_one(short: int, long_chunks: int, budget: int) -> None:
    scheduler = Scheduler(2, budget)
    scheduler.add("long", 100_000)
    for _ in range(long_chunks):
        step(scheduler)
    scheduler.add("short", short)
    assert run_until_fed(scheduler, "short") <= -(-short // (budget // 2))


def test_a_long_prompt_is_not_starved_by_a_stream_of_short_ones() -> None:
    scheduler = Scheduler(4, 16)
    scheduler.add("long", 160)
    for index in range(20):
        scheduler.add(f"short{index}", 16)
        batch = step(scheduler)
        for entry in batch.prefills:
            if entry.is_last and entry.request_id != "long":
                scheduler.remove(entry.request_id)
    assert is_fed(batch, "long")


def test_equal_prompts_are_fed_in_order_of_arrival() -> None:
    scheduler = Scheduler(8, 32)
    for index in range(8):
        scheduler.add(f"r{index}", 50)
    finished: list[str] = []
    while len(finished) < 8:
        for entry in step(scheduler).prefills:
            if entry.is_last:
                finished.append(entry.request_id)
                scheduler.remove(entry.request_id)
    assert finished == [f"r{index}" for index in range(8)]


def test_a_prompt_shrinks_to_the_busy_share_while_others_generate() -> None:
    scheduler = Scheduler(2, 512)
    scheduler.add("reply", 1)
    step(scheduler, 9)
    scheduler.add("long", 10_000)
    for _ in range(10):
        batch = step(scheduler, 9)
        assert [decode.request_id for decode in batch.decodes] == ["reply"]
        assert [entry.num_tokens for entry in batch.prefills] == [9]
    scheduler.remove("reply")
    assert step(scheduler, 9).num_tokens == 512


def test_nothing_to_feed_is_sampled_at_once() -> None:
    scheduler = Scheduler(2, 2)
    scheduler.add("long", 100)
    scheduler.add("resumed", 0)
    assert run_until_fed(scheduler, "resumed") == 1


def test_a_request_that_is_wholly_computed_is_sampled_at_once() -> None:
    scheduler = Scheduler(2, 64)
    scheduler.add("hit", 1000)
    [admitted] = scheduler.admit()
    scheduler.begin(admitted.request_id, 1000)
    [entry] = scheduler.schedule(512).prefills
    assert (entry.start, entry.num_tokens, entry.is_last) == (1000, 0, True)


def test_chunks_end_at_marks() -> None:
    scheduler = Scheduler(2, 64)
    scheduler.add("long", 200)
    scheduler.admit()
    scheduler.begin("long", 10, [50, 128, 199])
    chunks = [scheduler.schedule(512).prefills[0] for _ in range(5)]
    assert [entry.start + entry.num_tokens for entry in chunks] == [50, 114, 128, 192, 199]
    assert scheduler.schedule(512).prefills[0].is_last


@pytest.mark.parametrize("choices", [0, 5])
def test_impossible_number_of_choices_is_refused(choices: int) -> None:
    with pytest.raises(ValueError, match="num_choices"):
        Scheduler(4, 8).add("r", 1, choices)


def test_one_id_is_not_scheduled_twice() -> None:
    scheduler = Scheduler(4, 8)
    scheduler.add("r", 1)
    with pytest.raises(ValueError, match="already"):
        scheduler.add("r", 1)
    step(scheduler, 9)
    with pytest.raises(ValueError, match="already"):
        scheduler.add("r", 1)


def test_a_step_too_small_for_every_decode_is_refused() -> None:
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        Scheduler(8, 7)
