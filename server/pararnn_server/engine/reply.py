"""Ids and bytes of one choice: those shown, those held back, and the cut of a stop string."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

from pararnn_core.sampling.sampler import Sampled
from pararnn_core.sampling_params import SamplingParams
from pararnn_server.engine.stop import Limit, StopMatcher
from pararnn_server.text.vocabulary import Vocabulary


class Shown(NamedTuple):
    """Output that may be shown now. Its bytes may run ahead of its ids, whose bytes are all shown."""

    sampled: list[Sampled]
    text: bytes

    def then(self, later: Shown) -> Shown:
        """Return this output and a later one as one."""
        return Shown(self.sampled + later.sampled, self.text + later.text)


class _WithheldToken(NamedTuple):
    """An id with its end in the text, and in the text in which special tokens are spelled."""

    sampled: Sampled
    end: int
    spelled_end: int


class Reply:
    """Ids of a reply, counted from its first. An id that ends it is one of them only where it is shown.

    token_bytes: text of each id. spellings: of special tokens without a text, by id.
    shows_stop: the stop string or id that ends the reply is shown.
    ids: all that were pushed.  num_shown: how many of them are wholly shown.
    """

    def __init__(
        self,
        token_bytes: Sequence[bytes],
        stops: Sequence[str],
        spellings: Mapping[int, str] = MappingProxyType({}),
        *,
        shows_stop: bool = False,
    ) -> None:
        self._token_bytes = token_bytes
        self._spellings = spellings
        self._matcher = StopMatcher(stops, spellings.values(), shows_stop=shows_stop)
        self._can_stop = bool(stops)
        self._shows_stop = shows_stop
        self._withheld: deque[_WithheldToken] = deque()
        self._text = bytearray()
        self._end = 0
        self._spelled_end = 0
        self._shown = 0
        self.ids = array("I")
        self.num_shown = 0

    @classmethod
    def of(cls, params: SamplingParams, vocabulary: Vocabulary) -> Reply:
        """Return the empty reply of a request."""
        shows_stop = params.include_stop_str_in_output
        if params.skip_special_tokens:
            return cls(vocabulary.token_bytes, params.stop, vocabulary.spellings, shows_stop=shows_stop)
        return cls(vocabulary.spelled_bytes, params.stop, shows_stop=shows_stop)

    @property
    def holds_back(self) -> bool:
        """True if some ids may still become part of a stop string."""
        return bool(self._withheld)

    def push(self, sampled: Sampled, *, may_stop: bool = True) -> tuple[Shown, str | None]:
        """Add an id. Return what may be shown now, and the stop string that the id completed.

        may_stop: false for the first ids of a reply, which no stop string ends.
        """
        data = self._token_bytes[sampled.token_id]
        if not self._can_stop:
            return self._show_all(sampled, data), None
        spelling = self._spellings.get(sampled.token_id)
        spelled = data if spelling is None else spelling.encode()
        self._text += data
        self._end += len(data)
        self._spelled_end += len(spelled)
        self._withheld.append(_WithheldToken(sampled, self._end, self._spelled_end))
        self.ids.append(sampled.token_id)
        limit, stop = self._matcher.push(spelled, is_special=spelling is not None, may_stop=may_stop)
        return self._show(limit), stop

    def first_stop(self, token_ids: Sequence[int]) -> int:
        """Return the place of the next id that would complete a stop string, or the number of ids."""
        if not self._can_stop:
            return len(token_ids)
        matcher = deepcopy(self._matcher)
        for place, token_id in enumerate(token_ids):
            spelling = self._spellings.get(token_id)
            spelled = self._token_bytes[token_id] if spelling is None else spelling.encode()
            if matcher.push(spelled, is_special=spelling is not None)[1] is not None:
                return place
        return len(token_ids)

    def flush(self) -> Shown:
        """Return the held back output, at the end of a reply without a stop string."""
        return self._show(Limit(self._end, self._spelled_end))

    def end(self, sampled: Sampled) -> Shown:
        """Return the held back output, and the id that ends the reply if it is shown."""
        rest = self.flush()
        data = self._token_bytes[sampled.token_id]
        # An EOS without a text adds nothing that a client or a session would see.
        return rest.then(self._show_all(sampled, data)) if self._shows_stop and data else rest

    def cut_text(self) -> bytes:
        """Return the shown bytes of the id that a stop string cut in two."""
        if not self._withheld:
            return b""
        token_id, end = self._withheld[0].sampled.token_id, self._withheld[0].end
        data = self._token_bytes[token_id]
        return data[: max(0, len(data) - (end - self._shown))]

    def _show_all(self, sampled: Sampled, data: bytes) -> Shown:
        """Show the id at once: without stop strings nothing is ever held back."""
        self.ids.append(sampled.token_id)
        self.num_shown += 1
        return Shown([sampled], data)

    def _show(self, limit: Limit) -> Shown:
        shown = []
        while (
            self._withheld
            and self._withheld[0].end <= limit.text
            and self._withheld[0].spelled_end <= limit.spelled
        ):
            shown.append(self._withheld.popleft().sampled)
        self.num_shown += len(shown)
        size = self._text_before(limit) - self._shown
        text = bytes(self._text[:size])
        # Stop strings cannot cut what is shown, so only held back text needs memory.
        del self._text[:size]
        self._shown += size
        return Shown(shown, text)

    def _text_before(self, limit: Limit) -> int:
        """Return the bytes of the text that both limits let be shown."""
        if not self._withheld:
            return self._end
        first = self._withheld[0]
        beyond = max(0, first.spelled_end - limit.spelled)
        size = len(self._token_bytes[first.sampled.token_id])
        return min(limit.text, first.end - min(beyond, size))
