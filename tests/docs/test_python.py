"""Every Python block of the documents runs, and prints what the document shows."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.markdown_blocks import ROOT, examples
from tests.docs.python_blocks import run_python
from tests.docs.reply_shape import text_difference
from tests.docs.shell import run_in_one_shell

DOCUMENTS = ("README.md", "docs/python.md", "clients/python/README.md", "docs/quickstart.md")
README_NOT_RUN = {
    "TORCH_INDEX_URL=": "sets up the machine; tests/deploy/test_torch_index.py reads what it would install",
    ".venv/bin/python -m pip": "downloads a package; the tests have it installed",
    "git clone": "sets up the machine, from an address that is not known here",
    "make serve": "sets up the machine; tests/deploy/test_make_serve.py has its last step",
    ".venv/bin/pararnn convert": "needs weights of the reader; tests/server/commands has it",
    ".venv/bin/pararnn quantize": "needs a model and text of the reader; tests/server/commands has it",
    ".venv/bin/pararnn serve": "ends only with the server; tests/e2e/test_serve_command.py has it",
}


# Torch scripts its own forward-mode rules at their first use. The clients end with the reader's process.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_prints_what_the_document_shows(
    document: str, addresses: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = [example for example in examples(document) if example.command.language == "python"]
    for example, printed in zip(found, run_python(found, addresses), strict=True):
        if example.reply is not None:
            assert text_difference(example.reply.text, printed) is None, example


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, as its reader does")
def test_commands_of_the_readme_work(addresses: Mapping[str, str], tmp_path: Path) -> None:
    found = [example for example in examples("README.md") if example.command.language == "bash"]
    outputs = run_in_one_shell(found, addresses, tmp_path, tuple(README_NOT_RUN))
    printed = "\n".join(outputs)
    assert "data: [DONE]" in printed
    assert "fingerprint" in printed
    lines = [line for example in found for line in example.command.text.splitlines()]
    assert all(any(line.startswith(start) for line in lines) for start in README_NOT_RUN)


def test_documents_show_no_command_outside_of_a_fenced_block() -> None:
    for document in ("README.md", "docs/quickstart.md", "docs/python.md"):
        text = (ROOT / document).read_text()
        indented = [
            line for line in text.splitlines() if line.startswith(("    curl", "    make", "    .venv"))
        ]
        assert indented == [], document
