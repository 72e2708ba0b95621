"""The scheduler: tokens and slots of the next batch. Pure data: no model, no clock, no token ids."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import count

from pararnn_server.access.shares import Shares


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that leaves the queue. slots: one per choice; the first prefills for all."""

    request_id: str
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefill:
    """Tokens [start, start + num_tokens) of what a request feeds; is_last: its choices are sampled from it.

    num_tokens is 0 for a request that feeds nothing and is sampled from the state it starts with.
    """

    request_id: str
    slot: int
    start: int
    num_tokens: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Decode:
    """The last sampled token of one choice, and num_forced that follow it without being drawn."""

    request_id: str
    choice: int
    slot: int
    num_forced: int = 0


@dataclass(frozen=True, slots=True)
class ScheduledBatch:
    """One step, taken as done: the next call continues after it."""

    prefills: list[Prefill]
    decodes: list[Decode]

    @property
    def num_tokens(self) -> int:
        """Rows of the packed batch."""
        forced = sum(decode.num_forced for decode in self.decodes)
        return len(self.decodes) + forced + sum(prefill.num_tokens for prefill in self.prefills)

    @property
    def request_ids(self) -> set[str]:
        """Requests of the step."""
        return {prefill.request_id for prefill in self.prefills} | {one.request_id for one in self.decodes}


@dataclass(slots=True)
class _Waiting:
    """A request in the queue. number: in order of arrival."""

    number: int
    request_id: str
    owner: str
    num_tokens: int
    num_choices: int


@dataclass(slots=True)
class _Prefilling:
    request_id: str
    slot: int
    num_tokens: int
    start: int = 0
    marks: list[int] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return self.num_tokens - self.start

    @property
    def room(self) -> int:
        """Tokens that one chunk may have: it ends at the next mark."""
        return (self.marks[-1] if self.marks else self.num_tokens) - self.start

    def advance(self, num_tokens: int) -> None:
        self.start += num_tokens
        if self.marks and self.marks[-1] == self.start:
            self.marks.pop()


class Scheduler:
    """Requests of a key leave the queue in order of arrival; a step carries every running decode of its keys.

    num_owners: keys that share the slots, as `Shares` says. Of the keys that wait, the one that holds the
    fewest slots comes first.

    Prompts share what is left of the step: the oldest gets half, so that none starves; the others get the
    rest, shortest remainder first, so that a short prompt passes a long one.
    """

    def __init__(self, max_num_seqs: int, max_num_batched_tokens: int, num_owners: int = 1) -> None:
        # A step carries every running reply.
        if max_num_batched_tokens < max_num_seqs:
            raise ValueError("max_num_batched_tokens must be at least max_num_seqs")
        self._slot_shares = Shares(max_num_seqs, num_owners)
        self._max_num_batched_tokens = max_num_batched_tokens
        self._free = list(range(max_num_seqs))
        self._numbers = count()
        self._waiting: dict[str, _Waiting] = {}
        self._queues: dict[str, dict[str, _Waiting]] = {}
        self._owners: dict[str, str] = {}
        self._slots: dict[str, dict[int, int]] = {}
        self._prefilling: dict[str, _Prefilling] = {}
        self._decoding: dict[tuple[str, int], Decode] = {}
        self._forced: dict[tuple[str, int], int] = {}

    @property
    def num_waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Requests with a slot."""
        return len(self._slots)

    @property
    def num_decoding(self) -> int:
        """Replies that get a token in every step."""
        return len(self._decoding)

    @property
    def num_prefilling(self) -> int:
        """Requests whose prompt is being read."""
        return len(self._prefilling)

    @property
    def num_free_slots(self) -> int:
        """Slots that no request holds."""
        return len(self._free)

    @property
    def has_work(self) -> bool:
        """True if any request waits or runs."""
        return bool(self._waiting or self._slots)

    @property
    def is_steady(self) -> bool:
        """True if the next step has the same replies and nothing else, if none of them ends."""
        # A step that has started ahead can take nobody else in.
        return not self._waiting and not self._prefilling and not self.light_keys

    def add(self, request_id: str, num_tokens: int, num_choices: int = 1, owner: str = "") -> None:
        """Put a request into the queue of its key.

        Raises ValueError for a known id, or for more choices than a key may have slots.
        """
        if request_id in self._waiting or request_id in self._slots:
            raise ValueError(f"request {request_id!r} is already scheduled")
        if not 1 <= num_choices <= self._slot_shares.most:
            raise ValueError(f"num_choices must be between 1 and {self._slot_shares.most}, got {num_choices}")
        waiting = _Waiting(next(self._numbers), request_id, owner, num_tokens, num_choices)
        self._waiting[request_id] = self._queues.setdefault(owner, {})[request_id] = waiting

    def finish(self, request_id: str, choice: int) -> int:
        """Free the slot of one choice and return it."""
        slots = self._slots[request_id]
        slot = slots.pop(choice)
        self._decoding.pop((request_id, choice), None)
        self._forced.pop((request_id, choice), None)
        owner = self._owners[request_id]
        if not slots:
            del self._slots[request_id], self._owners[request_id]
            self._prefilling.pop(request_id, None)
        self._slot_shares.give(owner, 1)
        heapq.heappush(self._free, slot)
        return slot

    def remove(self, request_id: str) -> list[int]:
        """Forget a request, waiting or running, and return the slots that it frees."""
        if (waiting := self._waiting.get(request_id)) is not None:
            self._leave_queue(waiting)
        return [self.finish(request_id, choice) for choice in list(self._slots.get(request_id, ()))]

    def admit(self) -> list[Admitted]:
        """Give slots to requests and return these. `begin` says where one starts after its first token."""
        admitted = []
        while (waiting := self._next()) is not None:
            self._leave_queue(waiting)
            request_id, owner = waiting.request_id, waiting.owner
            slots = tuple(heapq.heappop(self._free) for _ in range(waiting.num_choices))
            self._slots[request_id], self._owners[request_id] = dict(enumerate(slots)), owner
            self._slot_shares.take(owner, len(slots))
            self._prefilling[request_id] = _Prefilling(request_id, slots[0], waiting.num_tokens)
            admitted.append(Admitted(request_id, slots))
        return admitted

    def _next(self) -> _Waiting | None:
        """Return the request that may leave the queue now."""
        # While one waits for more slots than are free, only keys below their own share may pass:
        # else it might wait for ever.
        shares, somebody_waits = self._slot_shares, False
        heads = [next(iter(queue.values())) for queue in self._queues.values()]
        for head in sorted(heads, key=lambda head: (shares.held.get(head.owner, 0), head.number)):
            is_own = shares.held.get(head.owner, 0) + head.num_choices <= shares.own
            if head.num_choices <= shares.room(head.owner) and (is_own or not somebody_waits):
                return head
            somebody_waits = True
        return None

    def _leave_queue(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.request_id]
        queue = self._queues[waiting.owner]
        del queue[waiting.request_id]
        if not queue:
            del self._queues[waiting.owner]

    def begin(self, request_id: str, num_computed_tokens: int, marks: Sequence[int] = ()) -> None:
        """Set how many tokens of a request that was just admitted its slot already holds.

        marks: positions between there and the end, ascending, at which a chunk ends.
        """
        request = self._prefilling[request_id]
        # Reversed: `room` and `advance` take the next mark from the end.
        request.start, request.marks = num_computed_tokens, list(reversed(marks))

    def num_slots(self, owner: str) -> int:
        """Return the slots that a key holds. Any thread may call it."""
        return self._slot_shares.held.get(owner, 0)

    def num_read(self, request_id: str) -> int | None:
        """Return the tokens of its feed that a prompt has read so far; None after its end. Any thread."""
        prefilling = self._prefilling.get(request_id)
        return None if prefilling is None else prefilling.start

    @property
    def light_keys(self) -> frozenset[str]:
        """Keys that hold the fewest slots, if that is at most half of an equal share of those in use."""
        held = self._slot_shares.held
        fewest = min(held.values(), default=0)
        if 2 * fewest * len(held) > sum(held.values()):
            return frozenset()
        return frozenset(key for key, count in held.items() if count == fewest)

    def schedule(self, busy_prompt_tokens: int, keys: AbstractSet[str] | None = None) -> ScheduledBatch:
        """Return the next step, of at most max_num_batched_tokens tokens.

        busy_prompt_tokens: limit of prompt tokens while any reply runs.
        keys: the only keys whose requests the step carries; None: all keys.
        """
        decodes, prompts = list(self._decoding.values()), list(self._prefilling.values())
        if keys is not None:
            decodes = [decode for decode in decodes if self._owners[decode.request_id] in keys]
            prompts = [prompt for prompt in prompts if self._owners[prompt.request_id] in keys]
        budget = self._max_num_batched_tokens - len(decodes)
        if self._decoding:
            # Replies that the step leaves out wait for it all the same.
            budget = min(budget, busy_prompt_tokens)
        if self._forced:
            # Prompts get half: neither starves the other.
            most = budget // 2 if prompts else budget
            decodes = self._with_forced(decodes, most)
            budget -= sum(decode.num_forced for decode in decodes)
        return ScheduledBatch(self._prefill(prompts, budget), decodes)

    def force(self, request_id: str, choice: int, count: int) -> None:
        """Allow a choice to feed `count` ids with the last one in its next step."""
        if count:
            self._forced[request_id, choice] = count

    def _with_forced(self, decodes: Sequence[Decode], budget: int) -> list[Decode]:
        """Return the decodes with their forced ids, as far as the budget goes; the others get none."""
        wide = []
        for decode in decodes:
            count = min(self._forced.pop((decode.request_id, decode.choice), 0), max(0, budget))
            budget -= count
            wide.append(replace(decode, num_forced=count) if count else decode)
        return wide

    def _prefill(self, prompts: Sequence[_Prefilling], budget: int) -> list[Prefill]:
        prefills = []
        for request, share in _prompt_shares(prompts, budget):
            is_last = share == request.remaining
            # A request that feeds nothing has a share of 0 and is sampled at once.
            if share or is_last:
                prefills.append(Prefill(request.request_id, request.slot, request.start, share, is_last))
                request.advance(share)
            if is_last:
                self._begin_decoding(request.request_id)
        return prefills

    def _begin_decoding(self, request_id: str) -> None:
        del self._prefilling[request_id]
        for choice, slot in self._slots[request_id].items():
            self._decoding[request_id, choice] = Decode(request_id, choice, slot)


def _prompt_shares(prompts: Sequence[_Prefilling], budget: int) -> list[tuple[_Prefilling, int]]:
    """Tokens granted to each prompt, the oldest first."""
    if not prompts:
        return []
    oldest, *others = prompts
    # Rounded up, so that the oldest gets the only row of a small budget.
    reserved = min(oldest.room, (budget + 1) // 2)
    left = budget - reserved
    shares = []
    for request in sorted(others, key=lambda request: request.remaining):
        share = min(request.room, left)
        shares.append((request, share))
        left -= share
    return [(oldest, min(oldest.room, reserved + left)), *shares]
