"""The version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "pararnn-server"


def package_version() -> str:
    """Return the version; "0" where the package is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "0"
