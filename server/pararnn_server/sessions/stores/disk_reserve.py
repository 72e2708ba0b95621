"""Blocks of the disk kept free for deletions: on a full disk even a deletion writes first."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_BYTES = 64 << 10


class DiskReserve:
    """A file that is emptied when the disk is full, and filled again when there is room.

    nbytes: its size where the disk has twice as much free; 0: no file.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self._path = path
        self._nbytes = nbytes

    def fill(self) -> None:
        """Take up to half of the free bytes. A disk without room is no error."""
        try:
            missing = self._nbytes - self._size()
            if missing <= 0:
                return
            disk = os.statvfs(self._path.parent)
            size = self._size() + min(missing, disk.f_bavail * disk.f_frsize // 2)
            if size >= LEAST_BYTES:
                self._allocate(size)
        except OSError:
            self.give_up()

    def give_up(self) -> bool:
        """Give the bytes back to the disk. Return False if there were none."""
        try:
            size = self._size()
            if size:
                os.truncate(self._path, 0)
        except OSError:
            return False
        return size > 0

    def _allocate(self, size: int) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A sparse file would reserve nothing.
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0
