"""A download that continues where it broke off. Its file gets its name only when its hash is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx

from pararnn_server.fetch.fetch_error import FetchError

Progress = Callable[[int, int], None]

CHUNK_BYTES = 1 << 18
# Pauses before further attempts of a download that broke off.
PAUSES_SECONDS = (1.0, 2.0, 4.0)
_PARTIAL_CONTENT = 206


class UnusableAddress(Exception):
    """The server refuses the address, or cannot be reached at all."""


def download(
    client: httpx.Client, address: str, file: Path, size: int, digest: str, progress: Progress | None = None
) -> None:
    """Download a file of known size and SHA-256.

    What has arrived is in FILE.partial, also after an error or a kill; the next call continues it. Raises
    UnusableAddress if nothing arrives at all, and FetchError for a break that lasts or for another file.
    """
    partial = file.with_name(f"{file.name}.partial")
    continued = partial.exists() and partial.stat().st_size > 0
    _receive(client, address, partial, size, progress)
    if _digest(partial) != digest:
        # Its beginning may be of another file, so a download that was continued is tried once from the start.
        partial.unlink()
        if continued:
            _receive(client, address, partial, size, progress)
        if not continued or _digest(partial) != digest:
            partial.unlink(missing_ok=True)
            raise FetchError(f"{_shown(address)} is not the expected file: its SHA-256 is another one")
    partial.replace(file)


def _receive(client: httpx.Client, address: str, partial: Path, size: int, progress: Progress | None) -> None:
    """Fill the partial file up to `size` bytes."""
    attempts = [0.0, *PAUSES_SECONDS]
    while attempts:
        time.sleep(attempts.pop(0))
        before = _size(partial)
        if before >= size:
            return
        try:
            _receive_rest(client, address, partial, before, size, progress)
        except httpx.HTTPStatusError as error:
            raise UnusableAddress(f"HTTP status {error.response.status_code}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if _size(partial) > before:
                # It moves on, so it may break off as often as it likes.
                attempts = list(PAUSES_SECONDS)
            if not attempts:
                _give_up(address, partial, size, error)
    if _size(partial) < size:
        _give_up(address, partial, size, None)


def _receive_rest(
    client: httpx.Client, address: str, partial: Path, start: int, size: int, progress: Progress | None
) -> None:
    # Compressed, the bytes of a range would not be those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", address, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != _PARTIAL_CONTENT:
            # This server sends whole files only.
            start = 0
        with partial.open("r+b" if partial.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            for chunk in response.iter_raw():
                if start + len(chunk) > size:
                    partial.unlink()
                    raise FetchError(f"{_shown(address)} is larger than the expected {size:,} bytes")
                file.write(chunk)
                start += len(chunk)
                if progress is not None:
                    progress(start, size)


def _give_up(address: str, partial: Path, size: int, error: Exception | None) -> None:
    if not _size(partial):
        raise UnusableAddress(str(error)) from error
    why = f" ({error})" if error is not None and str(error) else ""
    raise FetchError(
        f"the download from {_shown(address)} broke off after {_size(partial):,} of {size:,} bytes{why};"
        " the next call continues it"
    ) from error


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _digest(file: Path) -> str:
    found = sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _shown(address: str) -> str:
    """Return the host: an address may hold a password."""
    return httpx.URL(address).host
