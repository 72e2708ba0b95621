"""How many prompt tokens a step may carry while others generate, learned from how long steps last."""

from __future__ import annotations

# Before anything is known: a row of a prompt costs a tenth to a sixth of a lone reply's step on a CPU.
FIRST_ROWS = 8
_MEMORY = 16
# One late step must not halve the next grant: the machine may have been busy with something else.
_OUTLIER = 2.0


class _Average:
    """Mean of the first samples, later an exponential one; a sample counts as at most _OUTLIER times it."""

    def __init__(self) -> None:
        self.value = 0.0
        self._samples = 0

    def add(self, sample: float) -> None:
        if self._samples:
            sample = min(sample, _OUTLIER * self.value)
        self._samples = min(self._samples + 1, _MEMORY)
        self.value += (sample - self.value) / self._samples


class Pace:
    """Seconds of a step = quiet seconds for its decodes + price of a prompt row x rows. Has no clock.

    max_slowdown: longest step with prompts, as a multiple of the quiet one that follows once they are read:
    many short prompts at once do not trickle in beside the one that came first.
    """

    def __init__(self, max_slowdown: float) -> None:
        self._max_slowdown = max_slowdown
        self._quiet: dict[int, _Average] = {}
        self._row = _Average()
        self._has_mixed = False

    def observe(self, decodes: int, prompt_rows: int, seconds: float) -> None:
        """One step that was taken. One that took no time, or fed nothing, says nothing."""
        if seconds <= 0.0 or not (decodes or prompt_rows):
            return
        if decodes and not prompt_rows:
            self._quiet.setdefault(decodes, _Average()).add(seconds)
        elif prompt_rows and not decodes:
            self._observe_prompt(seconds / prompt_rows)
        elif self._quiet:
            self._observe_mixed((seconds - self.quiet_seconds(decodes)) / prompt_rows)

    def prompt_rows(self, decodes: int, joining: int = 1) -> int:
        """Rows of `joining` prompts that fit beside so many decodes; at least one, so that none starves."""
        if not self._quiet or not self._row.value:
            return FIRST_ROWS + decodes
        spare = self._max_slowdown * self.quiet_seconds(decodes + joining) - self.quiet_seconds(decodes)
        return max(1, int(spare / self._row.value))

    def quiet_seconds(self, decodes: int) -> float:
        """Of a step with decodes only; where there was none with so many, from those with fewer and more."""
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
        """More decodes than ever before: each costs what a prompt row does, and no more than those before."""
        known = self._quiet[fewer].value
        return min(known + (decodes - fewer) * self._row.value, known * decodes / fewer)

    def _observe_prompt(self, seconds_per_row: float) -> None:
        """With the reading of the weights in it, hence too dear: counts only until a mixed step is seen."""
        if not self._has_mixed:
            self._row.add(seconds_per_row)

    def _observe_mixed(self, seconds_per_row: float) -> None:
        if not self._has_mixed:
            self._has_mixed, self._row = True, _Average()
        self._row.add(max(seconds_per_row, 1e-9))
