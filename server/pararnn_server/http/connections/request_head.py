"""Heads of requests as bytes: collected up to a limit before the parser sees any of them."""

from __future__ import annotations

import re

from pararnn_server.errors import BadRequest, HeadTooLarge

# Continuation lines belong to the field above them.
_UPGRADE = re.compile(rb"(?i)\nupgrade[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*")


class HeadCollector:
    """Collects the head of one request after the other.

    max_bytes: of the request line and the headers together. max_fields: header lines.
    """

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self._max_bytes = max_bytes
        self._max_fields = max_fields
        self._held = bytearray()

    @property
    def num_bytes(self) -> int:
        """Bytes of a head whose end is missing."""
        return len(self._held)

    def add(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Return the head, None while its end is missing, and the bytes behind it.

        Raises HeadTooLarge, or BadRequest for bytes that are not HTTP.
        """
        held = self._held
        before = len(held)
        if not before:
            data = data.lstrip(b"\r\n")  # RFC 9112, 2.2: a server ignores empty lines before a request
            if data and not data[:1].isalpha():
                raise _not_http(data)
        # One byte more than allowed shows that there are too many; the rest is not copied.
        held += data[: self._max_bytes + 1 - before]
        # The end may begin in the last two bytes of the read before.
        end = _end_of_head(held, max(0, before - 2))
        if end < 0 and len(held) <= self._max_bytes:
            return None, b""
        head = bytes(held[:end])
        held.clear()
        # The request line and the empty line are no fields.
        if not 0 < end <= self._max_bytes or head.count(b"\n") - 2 > self._max_fields:
            limits = f"{self._max_bytes} bytes and {self._max_fields} header lines"
            raise HeadTooLarge(f"The URL and headers of a request may have {limits}; send fewer.")
        return head, data[end - before :]


def without_upgrade(head: bytes) -> bytes:
    """The head without its Upgrade fields: RFC 9110, 7.8, lets a server ignore an upgrade.

    The parser would take the body that follows for bytes of the other protocol.
    """
    if b"\nupgrade" not in head.lower():
        return head
    return _UPGRADE.sub(b"", head)


def _end_of_head(data: bytearray, start: int) -> int:
    """Position behind the empty line; -1 without one. The parser refuses ends of lines without a CR."""
    end = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, end + 1 if end >= 0 else len(data))
    if bare >= 0:
        return bare + 2
    return end + 3 if end >= 0 else -1


def _not_http(data: bytes) -> BadRequest:
    if data[0] == 0x16:  # a TLS record of a handshake
        return BadRequest("This server speaks HTTP without TLS: use http://, or put a TLS proxy before it.")
    return BadRequest("This is not an HTTP/1.1 request.")
