"""The figures of a tuned state, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_core.tuning.served_loss import SPANS, SpanLoss

# Below this share of the first span's gain a state has faded.
_FADED = 0.25


@dataclass(frozen=True)
class TuneReport:
    """Held-out losses of each span: without the state, with it, and after a system message instead.

    system_tokens: ids that the system message adds to a conversation, on average.
    """

    num_chats: int
    without: Sequence[SpanLoss]
    tuned: Sequence[SpanLoss]
    system: Sequence[SpanLoss] | None = None
    system_tokens: float = 0.0

    def lines(self) -> list[str]:
        """Return a table and what follows from it."""
        heads = ["assistant's tokens", "without", "with state", *(["system message"] if self.system else [])]
        rows = [heads, *(self._row(number) for number in range(len(SPANS)))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        title = f"Held-out loss, nats a token, of {self.num_chats} chats, on the path that serves:"
        table = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return [title, *table, *self._remarks()]

    def fields(self) -> dict[str, Any]:
        """Return all figures."""
        columns = {"without": self.without, "tuned": self.tuned, "system": self.system or ()}
        spans = [
            {"from": begin + 1, "to": end, "tokens": self.without[number].num_tokens}
            | {name: column[number].mean for name, column in columns.items() if column}
            for number, (begin, end) in enumerate(SPANS)
        ]
        return {"held_out_chats": self.num_chats, "system_tokens": self.system_tokens, "spans": spans}

    def _row(self, number: int) -> list[str]:
        begin, end = SPANS[number]
        columns = (self.without, self.tuned, *([self.system] if self.system else []))
        means = [column[number].mean for column in columns]
        return [f"{begin + 1} to {end}", *("-" if mean is None else f"{mean:.3f}" for mean in means)]

    def _remarks(self) -> list[str]:
        remarks = ["The state costs 0 tokens a conversation."]
        if self.system:
            remarks = [
                f"The state costs 0 tokens a conversation, the system message {self.system_tokens:.0f}."
            ]
        first, last = self._gain(0), self._gain(-1)
        if last is None:
            remarks.append("No held-out chat has over 200 such tokens: how far it reaches is not known.")
        elif first is not None and first > 0 and last < _FADED * first:
            remarks.append(
                f"Beyond 200 tokens its effect fades: a gain of {last:.3f}, of {first:.3f} at the start."
            )
        if first is not None and first <= 0:
            remarks.append("It gains nothing: give more chats, or another --rate.")
        return remarks

    def _gain(self, number: int) -> float | None:
        without, tuned = self.without[number].mean, self.tuned[number].mean
        return None if without is None or tuned is None else without - tuned
