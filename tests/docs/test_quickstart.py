"""Every request of docs/quickstart.md works, and its reply has the shape that the document shows."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.markdown_blocks import Example, examples
from tests.docs.reply_shape import difference, json_values, text_difference
from tests.docs.shell import run_in_one_shell

EXAMPLES = examples("docs/quickstart.md")
NOT_RUN = {
    "make serve": "sets up the machine; tests/deploy/test_make_serve.py has its last step",
    "PARARNN_API_KEYS=": "starts a second server; the fixture `addresses` has one with these keys",
    ".venv/bin/pararnn serve": "starts a third server; the fixture `addresses` has one",
}

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, as its reader does")


@pytest.fixture(scope="module")
def replies(addresses: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("quickstart")
    return run_in_one_shell(EXAMPLES, addresses, folder, tuple(NOT_RUN))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_reply_has_the_shape_that_is_shown(example: Example, replies: list[str]) -> None:
    real, shown = replies[EXAMPLES.index(example)], example.reply
    if shown is None:
        return
    if shown.language == "text":
        assert text_difference(shown.text, real) is None
        return
    values, true = json_values(shown.text), json_values(real)
    assert len(values) == len(true), real
    assert [difference(*pair) for pair in zip(values, true, strict=True)] == [None] * len(values)


def test_every_command_that_is_not_run_is_there() -> None:
    lines = [line for example in EXAMPLES for line in example.command.text.splitlines()]
    assert all(any(line.startswith(start) for line in lines) for start in NOT_RUN)
