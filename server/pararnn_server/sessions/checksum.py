"""Checksums of all bytes that go into a store."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from pararnn_server.errors import StoreFailed

CHECKSUM_BYTES = 4


def add_checksum(*parts: bytes | bytearray | memoryview, place: str = "") -> bytes:
    """Return the parts end to end, and the CRC-32 of the place and of them (4 bytes, little end first).

    place: where they belong, so that bytes which were moved are noticed.
    """
    checksum = zlib.crc32(place.encode())
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((*parts, checksum.to_bytes(CHECKSUM_BYTES, "little")))


def verify_checksum(data: bytes, what: str, place: str = "") -> memoryview:
    """Return the sealed bytes, without a copy.

    Raises StoreFailed, which names `what`, if a bit has changed or the bytes were moved here.

    The first version sealed without a place: what it wrote is taken at any.
    """
    body, sealed = memoryview(data)[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(data) < CHECKSUM_BYTES or not any(
        zlib.crc32(body, zlib.crc32(one.encode())).to_bytes(CHECKSUM_BYTES, "little") == sealed
        for one in dict.fromkeys((place, ""))
    ):
        raise corrupt(f"{what} does not match its checksum")
    return body


def join_verified(chunks: Iterable[bytes], what: str) -> bytes:
    """Return chunks with checksums as one run of bytes."""
    return b"".join(verify_checksum(chunk, what) for chunk in chunks)


def corrupt(why: str) -> StoreFailed:
    """Return the error for bytes that are not those that were stored."""
    return StoreFailed(f"The session store is corrupt: {why}.", code="store_corrupt")
