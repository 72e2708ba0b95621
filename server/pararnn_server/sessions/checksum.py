"""Bytes that know whether they are whole: a checksum stands behind all that goes into a store."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from pararnn_server.errors import StoreFailed

SEAL_BYTES = 4


def seal(*parts: bytes | bytearray | memoryview, place: str = "") -> bytes:
    """The parts end to end, and the CRC-32 of the place and of them (4 bytes, little end first).

    place: where they belong, so that bytes which were moved are noticed.
    """
    checksum = zlib.crc32(place.encode())
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((*parts, checksum.to_bytes(SEAL_BYTES, "little")))


def unseal(data: bytes, what: str, place: str = "") -> memoryview:
    """Return the sealed bytes, without a copy.

    Raises StoreFailed, which names `what`, if a bit has changed or the bytes were moved here.

    The first version sealed without a place: what it wrote is taken at any.
    """
    body, sealed = memoryview(data)[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if len(data) < SEAL_BYTES or not any(
        zlib.crc32(body, zlib.crc32(one.encode())).to_bytes(SEAL_BYTES, "little") == sealed
        for one in dict.fromkeys((place, ""))
    ):
        raise corrupt(f"{what} does not match its checksum")
    return body


def joined(chunks: Iterable[bytes], what: str) -> bytes:
    """Sealed chunks as one run of bytes."""
    return b"".join(unseal(chunk, what) for chunk in chunks)


def corrupt(why: str) -> StoreFailed:
    """What the store gives back is not what was put in."""
    return StoreFailed(f"The session store is corrupt: {why}.", code="store_corrupt")
