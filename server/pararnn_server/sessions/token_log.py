"""The token log of a session: pieces that are only added to, 4 bytes an id, little end first."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from pararnn_server.access.owner import Owner
from pararnn_server.sessions.checksum import CHECKSUM_BYTES, add_checksum, corrupt, verify_checksum
from pararnn_server.sessions.names import log_name, number_in, place_of
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.stores.store import PIECE_BYTES

PIECE_IDS = 64 << 10
_ID_BYTES = 4


def log_pieces(start: int, token_ids: Sequence[int], owner: Owner) -> Iterator[tuple[str, bytes]]:
    """Yield the items that add ids from position `start` on; none for no ids."""
    # Their checksums cover the owner and the position, not the session: forks share them.
    for first in range(0, len(token_ids), PIECE_IDS):
        ids = array("I", _as_unsigned(token_ids[first : first + PIECE_IDS]))
        if sys.byteorder == "big":
            ids.byteswap()
        name = log_name(start + first)
        yield name, add_checksum(ids.tobytes(), place=place_of(owner.encode(), name))


def _as_unsigned(ids: Sequence[int]) -> Sequence[int]:
    """Return the ids as an array."""
    # An array is taken as its bytes: number by number takes fifty times as long.
    return array("I", ids.tobytes()) if isinstance(ids, array) and ids.typecode in "iI" else ids


def read_log_in_steps(
    sizes: Mapping[str, int], read: Callable[[str], bytes], start: int, end: int, owner: Owner
) -> Steps[array[int]]:
    """Ids [start, end) out of all pieces, some bytes a step. StoreFailed if they do not fit together."""
    check_log(sizes, start, end)
    ids, nbytes = array("I"), 0
    for name, size in sizes.items():
        nbytes += size
        if nbytes > PIECE_BYTES:
            yield
            nbytes = size
        ids.extend(_ids(read(name), place_of(owner.encode(), name)))
    return ids[: end - start]


def check_log(sizes: Mapping[str, int], start: int, end: int) -> None:
    """Raise StoreFailed if pieces of these sizes do not follow each other from `start` to `end`."""
    for name, size in sizes.items():
        if number_in(name) != start:
            raise corrupt("the token log has a gap")
        start += _num_ids(size)
    if start < end:
        raise corrupt("the token log ends early")


def read_log(items: Mapping[str, bytes], start: int, end: int, owner: Owner) -> array[int]:
    """Ids [start, end) out of all pieces, by name. StoreFailed if they do not follow each other."""
    ids = array("I")
    for name, data in items.items():
        if number_in(name) != start + len(ids):
            raise corrupt("the token log has a gap")
        ids.extend(_ids(data, place_of(owner.encode(), name)))
    if start + len(ids) < end:
        raise corrupt("the token log ends early")
    return ids[: end - start]


def cut_log(
    sizes: Mapping[str, int], read: Callable[[str], bytes], end: int, owner: Owner
) -> tuple[dict[str, bytes], list[str]]:
    """Puts and removes that leave the ids before `end`: only the piece that it cuts is read and written."""
    removes = [name for name in sizes if number_in(name) >= end]
    if len(removes) == len(sizes):
        return {}, removes
    name = list(sizes)[len(sizes) - len(removes) - 1]
    start = number_in(name)
    if start + _num_ids(sizes[name]) <= end:
        return {}, removes
    return dict(
        log_pieces(start, _ids(read(name), place_of(owner.encode(), name))[: end - start], owner)
    ), removes


def _num_ids(nbytes: int) -> int:
    return (nbytes - CHECKSUM_BYTES) // _ID_BYTES


def _ids(data: bytes, place: str) -> array[int]:
    ids = array("I")
    ids.frombytes(verify_checksum(data, "the token log", place))
    if sys.byteorder == "big":
        ids.byteswap()
    return ids
