"""docs/memory.svg shows the numbers that the code gives, and says how it was made."""

import re
from pathlib import Path

from benchmarks.memory_picture import PICTURE, TOKENS, bytes_by_tokens, draw


def texts(file: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())


def test_a_state_is_flat_and_a_cache_grows_with_every_token() -> None:
    cache, shared, state, log = bytes_by_tokens().values()
    assert len(set(state)) == 1
    assert all(line[-1] * TOKENS[0] == line[0] * TOKENS[-1] for line in (cache, shared, log))


def test_the_picture_in_docs_is_what_the_command_draws(tmp_path: Path) -> None:
    draw(tmp_path / "memory.svg")
    assert texts(PICTURE) == texts(tmp_path / "memory.svg")
    assert "python -m benchmarks.memory_picture" in PICTURE.read_text()
