"""The end of a JSON object in a text that comes piece by piece."""

from __future__ import annotations

import re

_OF_INTEREST = re.compile(r'["\\{}\[\]]')


class ObjectScanner:
    """Finds where an object ends. It does not check that the object is valid.

    is_whole: True once the end was found.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False
        self.is_whole = False

    def feed(self, text: str) -> int:
        """Return the number of characters of a piece in the object. The first piece begins with it."""
        position = 0
        while not self.is_whole:
            if self._is_escaped and position < len(text):
                position += 1
                self._is_escaped = False
            found = _OF_INTEREST.search(text, position)
            if found is None:
                return len(text)
            position = found.end()
            self._see(found[0])
        return position

    def _see(self, character: str) -> None:
        if character == '"':
            self._is_in_string = not self._is_in_string
        elif character == "\\":
            self._is_escaped = self._is_in_string
        elif not self._is_in_string:
            self._depth += 1 if character in "{[" else -1
            self.is_whole = self._depth == 0
