from pathlib import Path

import pytest

from checkpoints.corpus import (
    corpus_fingerprint,
    is_included,
    load_documents,
    split_documents,
)
from pararnn_core.training.chat_template import SPECIAL_TOKENS


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for index in range(400):
        file = tmp_path / f"package{index % 7}" / f"module{index}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(f"number = {index}\r\n".encode())
    return tmp_path


def test_split_is_disjoint_and_complete(library: Path) -> None:
    documents = load_documents(library)
    training, held_out = split_documents(documents)
    assert not {d.path for d in training} & {d.path for d in held_out}
    assert sorted(training + held_out, key=lambda d: d.path) == documents
    assert 5 <= len(held_out) <= 40


def test_split_is_the_same_every_time_and_does_not_depend_on_other_files(library: Path) -> None:
    _, before = split_documents(load_documents(library))
    (library / "another.py").write_text("x = 1\n")
    training, after = split_documents(load_documents(library))
    assert {d.path for d in before} == {d.path for d in after} - {"another.py"}
    assert corpus_fingerprint(training) == corpus_fingerprint(split_documents(load_documents(library))[0])


def test_fingerprint_sees_every_byte(library: Path) -> None:
    before = corpus_fingerprint(load_documents(library))
    (library / "package0" / "module0.py").write_bytes(b"number = 1\r\n")
    assert corpus_fingerprint(load_documents(library)) != before


def test_bytes_are_kept_exactly(library: Path) -> None:
    document = load_documents(library)[0]
    assert document.text.encode() == (library / document.path).read_bytes()


def test_unusable_files_are_left_out(library: Path) -> None:
    before = load_documents(library)
    (library / "latin.py").write_bytes(b"# caf\xe9\n")
    (library / "blank.py").write_text(" \n")
    (library / "special.py").write_text(f"token = {SPECIAL_TOKENS[1]!r}\n")
    assert load_documents(library) == before


@pytest.mark.parametrize(
    "path",
    [
        "test/test_os.py",
        "unittest/test/test_case.py",
        "idlelib/idle_test/test_run.py",
        "lib2to3/tests/test_fixers.py",
        "site-packages/torch/nn.py",
        "ensurepip/_bundled/pip.py",
        "encodings/cp1252.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "config-3.11-x86_64-linux-gnu/python-config.py",
    ],
)
def test_tests_tables_and_installed_packages_are_excluded(path: str) -> None:
    assert not is_included(path)


@pytest.mark.parametrize(
    "path", ["os.py", "test.py", "json/decoder.py", "lib2to3/main.py", "unittest/case.py"]
)
def test_library_modules_are_included(path: str) -> None:
    assert is_included(path)


def test_a_folder_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Python sources"):
        load_documents(tmp_path)


def test_the_installed_library_has_both_parts() -> None:
    training, held_out = split_documents(load_documents())
    assert len(training) > 300
    assert 0.02 < len(held_out) / len(training) < 0.12
    assert not any(token in d.text for d in training + held_out for token in SPECIAL_TOKENS)
