"""The body of the request under way on a connection: where it ends, and whether it comes."""

from __future__ import annotations

from typing import Final

# Within --body-timeout-seconds a body must bring as many bytes, or its end.
LEAST_PROGRESS: Final = 64 << 10
# The rest of a body that nobody wants, up to which the connection is kept for further requests.
MAX_DRAINED_BYTES: Final = 64 << 10


class BodyProgress:
    """is_whole: its last byte is here. is_chunked: only the parser knows where it ends.

    max_framing_bytes: between two pieces of content of a chunked body.
    """

    def __init__(self, max_framing_bytes: int) -> None:
        self._max_framing_bytes = max_framing_bytes
        self.begin()
        self.is_whole = True

    def begin(self) -> None:
        """Start with a new request; its header fields follow."""
        self.is_whole = self.is_chunked = False
        self._left = self._received = self._received_before = self._framing_bytes = 0

    def announce(self, num_bytes: int) -> None:
        """The Content-Length, which the parser has checked."""
        self._left = num_bytes

    def cut(self, data: bytes) -> bytes:
        """Return as many of the next bytes as may belong to the body."""
        if self.is_chunked:
            # Chunk sizes and trailers are no content: without a bound of their own they never end.
            self._framing_bytes += len(data)
            return data
        piece = data[: self._left]
        self._left -= len(piece)
        return piece

    def got(self, num_bytes: int) -> None:
        """A piece of its content."""
        self._received += num_bytes
        self._framing_bytes = 0

    @property
    def is_padded(self) -> bool:
        """True if it brings chunk extensions or trailers without end."""
        return not self.is_whole and self._framing_bytes > self._max_framing_bytes

    @property
    def can_be_drained(self) -> bool:
        """True if what is missing is known to be small."""
        return self.is_whole or (not self.is_chunked and self._left <= MAX_DRAINED_BYTES)

    def start_clock(self) -> None:
        """Progress counts from here."""
        self._received_before = self._received

    def has_progressed(self) -> bool:
        """True if enough has come since the clock was started."""
        return self._received - self._received_before >= LEAST_PROGRESS
