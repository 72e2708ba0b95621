import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.beside_teacher.pages import PICTURE, write_pages
from benchmarks.beside_teacher.pages import RESULTS as MEASURED
from benchmarks.beside_teacher.picture import draw
from benchmarks.beside_teacher.points import DECODED, TURN, Point, measure_part
from benchmarks.beside_teacher.report import page
from benchmarks.beside_teacher.results_file import Part, Results, continued, write_results
from benchmarks.beside_teacher.student import Student
from benchmarks.beside_teacher.teacher import Teacher
from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.quantize.quality import CHUNK, served_logits

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "paragru-5m-stdlib-int8"


class Counting:
    """A subject that reads 1,000 tokens a second and needs 10 bytes a token."""

    def __init__(self) -> None:
        self.count = 0
        self.turns: Callable[[int], None] = lambda _: None

    def read(self, ids: Sequence[int]) -> float:
        self.turns(len(ids))
        self.count += len(ids)
        return len(ids) / 1000

    def memory(self) -> int:
        return 10 * self.count

    def decode(self, ids: Sequence[int]) -> float:
        assert len(ids) == DECODED
        return 2.0

    def loss(self, passage: Sequence[int]) -> float:
        return 3.0 * (len(passage) - 1)

    def save(self, file: Path) -> None:
        raise NotImplementedError

    def load(self, file: Path, tokens: int) -> None:
        raise NotImplementedError


class Disturbed(Counting):
    """The same, but its first turn is slow."""

    def read(self, ids: Sequence[int]) -> float:
        return super().read(ids) * (10 if self.count == 100 else 1)


def test_one_slow_turn_of_reading_does_not_change_a_point() -> None:
    subject = Disturbed()
    subject.count = 100
    (point,) = measure_part([subject], list(range(3 * TURN + 200)), [[1, 2]], 100, 3 * TURN + 100, pause=0.0)
    assert point.read_rate == 1000.0


def test_a_point_describes_the_tokens_since_the_one_before() -> None:
    text, subject = list(range(400)), Counting()
    subject.read(text[:100])
    points = measure_part([subject], text, [[1, 2, 3], [4, 5]], 100, 300, pause=0.0)
    assert points == [Point(300, 3000, 1000.0, DECODED / 2.0, 3.0)]


def test_both_models_read_in_turn() -> None:
    subjects = [Counting(), Counting()]
    turns: list[tuple[int, int]] = []
    for number, subject in enumerate(subjects):
        subject.turns = lambda count, number=number: turns.append((number, count))
    measure_part(subjects, list(range(2 * TURN + 200)), [[1, 2]], 0, 2 * TURN + 1, pause=0.0)
    assert turns == [(0, TURN), (1, TURN), (0, TURN), (1, TURN), (0, 1), (1, 1)]


def test_a_saved_conversation_of_the_student_continues_with_the_same_bits(tmp_path: Path) -> None:
    ids = random.Random(0).choices(range(2048), k=60)
    first, second = Student(CHECKPOINT), Student(CHECKPOINT)
    first.read(ids[:30])
    first.save(tmp_path / "state")
    second.load(tmp_path / "state", 30)
    assert second.loss(ids[30:]) == first.loss(ids[30:])


def test_the_student_forgets_what_is_only_measured() -> None:
    ids = random.Random(0).choices(range(2048), k=CHUNK + 100)
    student = Student(CHECKPOINT)
    student.read(ids[: CHUNK + 50])
    memory = student.memory()
    first = student.loss(ids[CHUNK + 50 :])
    student.decode(ids[:3])
    assert (student.loss(ids[CHUNK + 50 :]), student.memory()) == (first, memory)
    rows, targets = zip(*served_logits(load_checkpoint(CHECKPOINT), torch.tensor(ids)), strict=True)
    wanted = F.cross_entropy(torch.cat(rows)[-49:], torch.cat(targets)[-49:], reduction="sum")
    assert first == pytest.approx(float(wanted), rel=1e-5)


SETTINGS: dict[str, str | int] = {
    "machine": "a processor",
    "threads": 2,
    "llama.cpp": "llama-cpp-python 1",
    "features": "AVX2",
    "model": "ParaGRU in int4",
    "command": "python -m benchmarks.beside_teacher",
    "others": "ParaLSTM in int4 354,049 bytes",
    "passages": 8,
    "passage": 256,
}
OURS = (Point(64, 284_929, 2000.0, 90.0, 2.0), Point(100_000, 284_929, 2000.0, 90.0, 2.0))
ITS = Point(64, 1_000_000, 1500.0, 80.0, 1.9)
RESULTS = Results(
    SETTINGS,
    (Part("2026-11-30 02:00:00", 0.5, OURS[0], ITS), Part("2026-11-30 02:01:00", 0.5, OURS[1], None)),
)


def test_a_context_that_only_one_model_reaches_has_empty_cells_for_the_other(tmp_path: Path) -> None:
    rows = [line for line in page(RESULTS).splitlines() if line.startswith(("| 64 ", "| 100,000 "))]
    short, long = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows[:2])
    assert short == ["64", "284,929", "1,000,000", "90", "80", "1.12", "2,000", "1,500", "7.39", "6.69"]
    assert long == ["100,000", "284,929", "", "90", "", "", "2,000", "", "7.39", ""]
    draw(RESULTS, tmp_path / "picture.svg")
    assert "Perplexity of the same passages" in (tmp_path / "picture.svg").read_text()


def texts(file: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())


def test_the_table_and_the_picture_are_those_of_the_committed_results(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_bytes(MEASURED.read_bytes())
    write_pages(results, tmp_path / "picture.svg")
    assert results.with_suffix(".md").read_text() == MEASURED.with_suffix(".md").read_text()
    assert texts(tmp_path / "picture.svg") == texts(PICTURE)


def test_a_run_continues_only_with_its_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert continued(file, SETTINGS) == Results(SETTINGS)
    write_results(RESULTS, file)
    assert continued(file, SETTINGS) == RESULTS
    with pytest.raises(ValueError, match=r"other settings \(threads\): remove it"):
        continued(file, {**SETTINGS, "threads": 1})


def test_a_teacher_that_cannot_run_says_its_exit_code(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match="exit code 7"):
        Teacher(str(python), tmp_path / "model.gguf", threads=1, context=64)
