import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pararnn_server.bench.machine import Machine
from torch.nn import functional as F

from benchmarks.beside_teacher.picture import draw
from benchmarks.beside_teacher.points import DECODED, Point, measured
from benchmarks.beside_teacher.report import table
from benchmarks.beside_teacher.student import Student
from benchmarks.beside_teacher.teacher import Teacher
from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.quantize.quality import CHUNK, served_logits

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "paragru-5m-stdlib-int8"


class Counting:
    """A subject that reads 1,000 tokens a second and needs 10 bytes a token."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, ids: Sequence[int]) -> float:
        self.count += len(ids)
        return len(ids) / 1000

    def memory(self) -> int:
        return 10 * self.count

    def decode(self, ids: Sequence[int]) -> float:
        assert len(ids) == DECODED
        return 2.0

    def loss(self, passage: Sequence[int]) -> float:
        return 3.0 * (len(passage) - 1)


def test_a_point_describes_the_whole_context_before_it() -> None:
    text = list(range(400))
    points = measured(Counting(), text, [[1, 2, 3], [4, 5]], [100, 300])
    rate = DECODED / 2.0
    assert points == [Point(100, 1000, 1000.0, rate, 3.0), Point(300, 3000, 1000.0, rate, 3.0)]


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


def test_a_context_that_only_one_model_reaches_has_empty_cells_for_the_other(tmp_path: Path) -> None:
    ours = [Point(64, 284_928, 2000.0, 90.0, 2.0), Point(100_000, 284_928, 2000.0, 90.0, 2.0)]
    its = [Point(64, 1_474_560, 1500.0, 80.0, 1.9)]
    written = table(ours, its, Machine("a processor", 2, 0.0, "Linux"), 2, "llama-cpp-python 1")
    short, long = written.rstrip().splitlines()[-2:]
    cells = [cell.strip() for cell in short.strip("|").split("|")]
    assert cells == ["64", "284,928", "1,474,560", "90", "80", "2,000", "1,500", "7.39", "6.69"]
    assert [cell.strip() for cell in long.strip("|").split("|")][2::2] == ["", "", "", ""]
    draw(ours, its, tmp_path / "picture.svg")
    assert "perplexity of the same passages" in (tmp_path / "picture.svg").read_text()


def test_a_teacher_that_cannot_run_says_its_exit_code(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match="exit code 7"):
        Teacher(str(python), tmp_path / "model.gguf", threads=1, context=64)
