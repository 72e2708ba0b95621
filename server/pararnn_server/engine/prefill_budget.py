"""The prefill budget: prompt tokens that a step may carry while others generate, learned from step times."""

from __future__ import annotations

# Before anything is known: a row of a prompt costs a tenth to a sixth of a lone reply's step on a CPU.
FIRST_ROWS = 8
_MEMORY = 16
# One late step must not halve the next grant, nor one that seemed to cost nothing open the gates.
_OUTLIER = 2.0
# A prompt alone pays for reading the weights too: its price of a row is too high, but by no more than this.
_ALONE_TOO_DEAR = 8.0


class _Ratio:
    """Ratio of sums over the latest samples, so that a large sample counts for more than a small one.

    Beyond the first a sample counts as at most _OUTLIER times dearer or cheaper than those before.
    """

    def __init__(self) -> None:
        self._cost = self._amount = 0.0

    @property
    def value(self) -> float:
        """Cost of one; 0 before the first sample."""
        return self._cost / self._amount if self._amount else 0.0

    def add(self, cost: float, amount: float = 1.0) -> None:
        """Add a sample. cost: of `amount` at once."""
        if self._amount:
            usual = self.value * amount
            cost = min(max(cost, usual / _OUTLIER), usual * _OUTLIER)
        kept = 1.0 - 1.0 / _MEMORY
        self._cost = kept * self._cost + cost
        self._amount = kept * self._amount + amount


class PrefillBudget:
    """Model of step times: quiet seconds of its decodes + price of a prompt row x rows. Has no clock.

    max_slowdown: longest step with prompts, as a multiple of the quiet one that follows once they are read:
    many short prompts at once do not trickle in beside the one that came first.
    """

    def __init__(self, max_slowdown: float) -> None:
        self._max_slowdown = max_slowdown
        self._quiet: dict[int, _Ratio] = {}
        self._row = _Ratio()
        self._has_mixed = False

    def observe(self, decodes: int, prompt_rows: int, seconds: float) -> None:
        """Learn from one step. A step that took no time, or fed nothing, is ignored."""
        if seconds <= 0.0 or not (decodes or prompt_rows):
            return
        if decodes and not prompt_rows:
            self._quiet.setdefault(decodes, _Ratio()).add(seconds)
        elif prompt_rows and not decodes:
            self._observe_prompt(seconds, prompt_rows)
        elif self._quiet:
            self._observe_mixed(seconds - self.quiet_seconds(decodes), prompt_rows)

    def prompt_rows(self, decodes: int, joining: int = 1) -> int:
        """Return the rows of `joining` prompts that fit beside so many decodes."""
        # At least one, so that none starves.
        if not self._quiet or not self._row.value:
            return FIRST_ROWS + decodes
        spare = self._max_slowdown * self.quiet_seconds(decodes + joining) - self.quiet_seconds(decodes)
        return max(1, int(spare / self._row.value))

    def quiet_seconds(self, decodes: int) -> float:
        """Return the seconds of a step with decodes only, interpolated where none had so many."""
        known = self._quiet.get(decodes)
        if known is not None:
            return known.value
        fewer = max((count for count in self._quiet if count < decodes), default=0)
        more = min((count for count in self._quiet if count > decodes), default=0)
        if not more:
            return self._beyond(fewer, decodes) if fewer else 0.0
        above = self._quiet[more].value
        if fewer:
            below = self._quiet[fewer].value
            return below + (above - below) * (decodes - fewer) / (more - fewer)
        # A decode costs at least what a prompt row does, and the weights are read once however few there are.
        return max(above - (more - decodes) * self._row.value, above * decodes / more)

    def _beyond(self, fewer: int, decodes: int) -> float:
        """Return the seconds for more decodes than ever before."""
        # Each costs what a prompt row does, and no more than those before.
        known = self._quiet[fewer].value
        return min(known + (decodes - fewer) * self._row.value, known * decodes / fewer)

    def _observe_prompt(self, seconds: float, rows: int) -> None:
        """Learn from a step of prompts alone."""
        # It reads the weights too, hence is too dear: it counts only until a mixed step is seen.
        if not self._has_mixed:
            self._row.add(seconds, rows)

    def _observe_mixed(self, seconds: float, rows: int) -> None:
        """Learn from a step of both. seconds: beyond those of the decodes, below 0 by noise."""
        if not self._has_mixed:
            least = self._row.value * rows / _ALONE_TOO_DEAR
            self._has_mixed, self._row = True, _Ratio()
            seconds = max(seconds, least)
        # Above 0: a price of 0 would count as not known.
        self._row.add(max(seconds, 1e-9), rows)
