"""Token masks for tests of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pararnn_server.engine.token_mask import Words

from pararnn_core.sampling.mask_words import MaskWords, mask_of
from tests.server.engine_fixtures import VOCAB_SIZE


@dataclass
class Forks:
    """A token mask that keeps the forks that the engine makes of it, in order, with the ids of each."""

    accepted: list[int] = field(default_factory=list)
    num_asked: int = 0
    forks: list[Forks] = field(default_factory=list)

    def fork(self) -> Forks:
        self.forks.append(self.copy())
        return self.forks[-1]

    def copy(self) -> Forks:
        raise NotImplementedError

    @property
    def is_complete(self) -> bool:
        return False

    @classmethod
    def allowed_of(cls, masks: Sequence[Forks]) -> list[Words]:
        return [mask.allowed() for mask in masks]

    def allowed(self) -> Words:
        self.num_asked += 1
        try:
            return self.words()
        except Exception as error:
            return error

    def forced(self) -> Sequence[int]:
        return ()

    def words(self) -> MaskWords | None:
        raise NotImplementedError

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


class Only(Forks):
    """The same ids at every step."""

    def __init__(self, ids: Iterable[int]) -> None:
        super().__init__()
        self.ids = tuple(ids)

    def copy(self) -> Only:
        return Only(self.ids)

    def words(self) -> MaskWords | None:
        return mask_of(self.ids, VOCAB_SIZE)


EVEN = range(0, VOCAB_SIZE, 2)


class OneAfterTheOther(Forks):
    """Ids in a fixed order; after them any id."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__()
        self.ids = ids

    def copy(self) -> OneAfterTheOther:
        return OneAfterTheOther(self.ids)

    def words(self) -> MaskWords | None:
        place = len(self.accepted)
        return mask_of([self.ids[place]], VOCAB_SIZE) if place < len(self.ids) else None


class Rising(Forks):
    """Ids no lower than the last one: what may come next depends on what was drawn."""

    def copy(self) -> Rising:
        return Rising()

    def words(self) -> MaskWords | None:
        return mask_of(range(self.accepted[-1] if self.accepted else 0, VOCAB_SIZE), VOCAB_SIZE)


class Fails(Only):
    """Raises in the method of that name, once so many ids were accepted."""

    def __init__(self, where: str, after: int = 0) -> None:
        super().__init__(EVEN)
        self.where, self.after = where, after

    def fork(self) -> Forks:
        self._fail("fork")
        return super().fork()

    def copy(self) -> Fails:
        return Fails(self.where, self.after)

    def words(self) -> MaskWords | None:
        self._fail("allowed")
        return super().words()

    def accept(self, token_id: int) -> None:
        self._fail("accept")
        super().accept(token_id)

    def _fail(self, where: str) -> None:
        if where == self.where and len(self.accepted) >= self.after:
            raise RuntimeError("the grammar is broken")


class Runs(Forks):
    """After an id that is drawn, id % 5 further ones are forced, two in a call. Complete after `length` ids.

    opening: ids that are forced before any is drawn.
    """

    def __init__(self, opening: Sequence[int] = (), length: int = 1000) -> None:
        super().__init__()
        self.opening, self.length = opening, length
        self.coming = list(opening)
        self.num_ids = 0

    def copy(self) -> Runs:
        return Runs(self.opening, self.length)

    def words(self) -> MaskWords | None:
        assert not self.coming
        return mask_of(range(0, VOCAB_SIZE, 3), VOCAB_SIZE)

    def accept(self, token_id: int) -> None:
        super().accept(token_id)
        self.num_ids += 1
        self.coming = [(token_id + 7 * i) % VOCAB_SIZE for i in range(token_id % 5)]

    def forced(self) -> Sequence[int]:
        room = max(0, self.length - self.num_ids)
        ids, self.coming = self.coming[: min(2, room)], self.coming[2:]
        self.num_ids += len(ids)
        return ids

    @property
    def is_complete(self) -> bool:
        return self.num_ids >= self.length
