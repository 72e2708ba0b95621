"""Bytes that know whether they are whole: a checksum stands behind all that goes into a store."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from pararnn_server.errors import StoreFailed

SEAL_BYTES = 4


def seal(*parts: bytes | bytearray | memoryview) -> bytes:
    """The parts end to end, and their CRC-32 (4 bytes, little end first)."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((*parts, checksum.to_bytes(SEAL_BYTES, "little")))


def unseal(data: bytes, what: str) -> memoryview:
    """What was sealed, without a copy. StoreFailed, naming `what`, if a bit of it has changed."""
    body = memoryview(data)[:-SEAL_BYTES]
    if len(data) < SEAL_BYTES or zlib.crc32(body).to_bytes(SEAL_BYTES, "little") != data[-SEAL_BYTES:]:
        raise corrupt(f"{what} does not match its checksum")
    return body


def joined(chunks: Iterable[bytes], what: str) -> bytes:
    """Sealed chunks as one run of bytes."""
    return b"".join(unseal(chunk, what) for chunk in chunks)


def corrupt(why: str) -> StoreFailed:
    """What the store gives back is not what was put in."""
    return StoreFailed(f"The session store is corrupt: {why}.", code="store_corrupt")
