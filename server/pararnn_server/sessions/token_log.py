"""The ids of a session in its store: pieces that are only added to, 4 bytes an id, little end first."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence

from pararnn_server.sessions.names import log_name, number_in
from pararnn_server.sessions.sealed import corrupt, seal, unseal


def log_piece(start: int, token_ids: Sequence[int]) -> dict[str, bytes]:
    """The item that adds ids from position `start` on; none for no ids."""
    if not token_ids:
        return {}
    ids = array("I", token_ids)
    if sys.byteorder == "big":
        ids.byteswap()
    return {log_name(start): seal(ids.tobytes())}


def read_log(items: Mapping[str, bytes], start: int, end: int) -> array[int]:
    """Ids [start, end) out of all pieces, by name. StoreFailed if they do not follow each other."""
    ids = array("I")
    for name, data in items.items():
        if number_in(name) != start + len(ids):
            raise corrupt("the token log has a gap")
        ids.extend(_ids(data))
    if start + len(ids) < end:
        raise corrupt("the token log ends early")
    return ids[: end - start]


def cut_log(items: Mapping[str, bytes], end: int) -> tuple[dict[str, bytes], list[str]]:
    """Puts and removes that leave the ids before `end`: only the piece that it cuts is written again."""
    removes = [name for name in items if number_in(name) >= end]
    if len(removes) == len(items):
        return {}, removes
    name = list(items)[len(items) - len(removes) - 1]
    start, ids = number_in(name), _ids(items[name])
    return (log_piece(start, ids[: end - start]) if start + len(ids) > end else {}), removes


def _ids(data: bytes) -> array[int]:
    ids = array("I")
    ids.frombytes(unseal(data, "the token log"))
    if sys.byteorder == "big":
        ids.byteswap()
    return ids
