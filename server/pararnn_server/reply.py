"""The ids and bytes of one choice: what may be shown, what is held back, where a stop string cuts."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pararnn_core.sampler import Sampled
from pararnn_server.stop import StopMatcher


class Shown(NamedTuple):
    """What may be shown now: ids whose bytes are all shown, and bytes, which may run ahead of the ids."""

    sampled: list[Sampled]
    text: bytes


class _Held(NamedTuple):
    sampled: Sampled
    end: int


class Reply:
    """Ids are counted from the reply's first; an EOS never gets here.

    ids: all that were pushed.  num_shown: how many of them are wholly shown.
    """

    def __init__(self, token_bytes: Sequence[bytes], stops: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._matcher = StopMatcher(stops)
        self._can_stop = bool(stops)
        self._held: deque[_Held] = deque()
        self._end = 0
        self._shown = 0
        self.ids = array("I")
        self.num_shown = 0

    @property
    def holds_back(self) -> bool:
        """Whether some ids may still become part of a stop string."""
        return bool(self._held)

    def push(self, sampled: Sampled) -> tuple[Shown, str | None]:
        """What the id lets be shown, and the stop string that it completed."""
        data = self._token_bytes[sampled.token_id]
        if not self._can_stop:
            return self._show_all(sampled, data), None
        self._end += len(data)
        self._held.append(_Held(sampled, self._end))
        self.ids.append(sampled.token_id)
        text, stop = self._matcher.push(data)
        return self._show(text), stop

    def flush(self) -> Shown:
        """What was held back, when the reply ends without a stop string."""
        return self._show(self._matcher.flush())

    def cut_text(self) -> bytes:
        """Bytes that are shown of the id which a stop string cut in two."""
        if not self._held:
            return b""
        token_id, end = self._held[0].sampled.token_id, self._held[0].end
        data = self._token_bytes[token_id]
        return data[: max(0, len(data) - (end - self._shown))]

    def _show_all(self, sampled: Sampled, data: bytes) -> Shown:
        """The common case: without stop strings nothing is ever held back."""
        self.ids.append(sampled.token_id)
        self.num_shown += 1
        return Shown([sampled], data)

    def _show(self, text: bytes) -> Shown:
        self._shown += len(text)
        shown = []
        while self._held and self._held[0].end <= self._shown:
            shown.append(self._held.popleft().sampled)
        self.num_shown += len(shown)
        return Shown(shown, text)
