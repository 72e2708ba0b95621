"""Debian packages whose text the student learns from, unpacked outside the repository."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = ("wordnet-base", "jargon-text", "r-cran-janeaustenr", "postgresql-doc-15", "python3.11-doc")


def unpacked_packages(folder: Path) -> dict[str, Path]:
    """Root of each package's files below folder; downloads what is missing.

    Raises ValueError where there is no apt, and subprocess.CalledProcessError where apt or dpkg fail.
    """
    missing = [name for name in PACKAGES if not (folder / "packages" / name).exists()]
    if missing and shutil.which("apt-get") is None:
        raise ValueError(
            f"{', '.join(missing)}: this system has no apt-get; download these Debian packages elsewhere "
            f"and unpack each (dpkg -x) into a folder of its name in {folder / 'packages'}"
        )
    return {name: _unpacked(name, folder / "packages" / name) for name in PACKAGES}


def _unpacked(name: str, root: Path) -> Path:
    """Renames last, so that a folder of this name is always whole."""
    if root.exists():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        subprocess.run(["apt-get", "download", name], cwd=scratch, check=True)
        archive = next(Path(scratch).glob("*.deb"))
        files = Path(scratch) / "files"
        subprocess.run(["dpkg", "-x", str(archive), str(files)], check=True)
        shutil.copyfile(archive, files / "package.deb")
        files.rename(root)
    return root
