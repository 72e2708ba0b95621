"""Write the table and the picture of the chat model beside its teacher.

python -m benchmarks.beside_teacher --checkpoint DIR --teacher FILE.gguf --text FILE --llama-python PYTHON

The passages whose perplexity is measured are the first part of the text, the contexts are the rest. Reading
and decoding are timed in turn on the same threads, with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
from pathlib import Path

from pararnn_server.bench.machine import Machine
from tokenizers import Tokenizer

from benchmarks.beside_teacher.picture import draw
from benchmarks.beside_teacher.points import CONTEXTS, DECODED, TEACHER_LIMIT, measured
from benchmarks.beside_teacher.report import table
from benchmarks.beside_teacher.student import Student
from benchmarks.beside_teacher.teacher import Teacher
from pararnn_core import ops

PASSAGES, PASSAGE = 4, 256
RESULTS = Path(__file__).parents[1] / "results"
PICTURE = Path(__file__).parents[2] / "docs" / "beside-teacher.svg"


def main() -> None:
    """Measure both models, print the table and write it and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_teacher", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of the chat model")
    parser.add_argument("--teacher", type=Path, required=True, help="GGUF file of its teacher")
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text of 105,000 tokens at least")
    parser.add_argument("--llama-python", required=True, help="interpreter with llama-cpp-python")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the table")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="file for the picture")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.checkpoint / "tokenizer.json"))
    ids = tokenizer.encode(options.text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    needed = PASSAGES * PASSAGE + CONTEXTS[-1] + DECODED
    if len(ids) < needed:
        parser.exit(1, f"{options.text} has {len(ids):,} tokens: {needed:,} are needed\n")
    passages = [ids[i * PASSAGE : (i + 1) * PASSAGE] for i in range(PASSAGES)]
    text = ids[PASSAGES * PASSAGE :]
    limit = TEACHER_LIMIT + PASSAGE + DECODED
    teacher = Teacher(options.llama_python, options.teacher, options.threads, limit)
    try:
        below = [tokens for tokens in CONTEXTS if tokens <= TEACHER_LIMIT]
        its = measured(teacher, text, passages, below)
    finally:
        teacher.close()
    ops.set_num_threads(options.threads)
    ours = measured(Student(options.checkpoint), text, passages, CONTEXTS)
    written = table(ours, its, Machine.here(), options.threads, teacher.version)
    print(written)
    (options.output / f"{datetime.date.today()}-beside-teacher.md").write_text(written)
    draw(ours, its, options.picture)


if __name__ == "__main__":
    main()
