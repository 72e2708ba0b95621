"""Write the table and the picture of the chat model beside its teacher.

python -m benchmarks.beside_teacher --checkpoint DIR --teacher FILE.gguf --text FILE --llama-python PYTHON

The contexts are the first part of the text; the passages whose perplexity is measured are its end. Nothing
else may run on the machine. With --seconds it ends after the first part beyond that time, and the same
command continues. When all parts are measured, it writes the table and the picture.
python -m benchmarks.beside_teacher.pages writes both again from the file of results.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from hashlib import sha256
from pathlib import Path

from pararnn_server.bench.machine import Machine
from tokenizers import Tokenizer

from benchmarks.beside_teacher.pages import PICTURE, RESULTS, write_pages
from benchmarks.beside_teacher.points import CONTEXTS, DECODED, TEACHER_LIMIT, measure_part
from benchmarks.beside_teacher.results_file import Part, Results, continued, write_results
from benchmarks.beside_teacher.student import Student
from benchmarks.beside_teacher.teacher import Teacher
from pararnn_core import ops
from pararnn_core.checkpoint import checkpoint_info

PASSAGES, PASSAGE = 8, 256
COMMAND = (
    "python -m benchmarks.beside_teacher --checkpoint DIR --others DIR --teacher GGUF --text FILE"
    " --llama-python PYTHON"
)
ROOT = Path(__file__).parents[2]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_teacher", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of the chat model")
    others = "other chat models, of which only the memory is measured"
    parser.add_argument("--others", type=Path, nargs="*", default=[], help=others)
    parser.add_argument("--teacher", type=Path, required=True, help="GGUF file of its teacher")
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text of 105,000 tokens at least")
    parser.add_argument("--llama-python", required=True, help="interpreter with llama-cpp-python")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="default: until all is measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the parts; the table is beside it")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="file for the picture")
    parser.add_argument(
        "--states", type=Path, default=ROOT / "build" / "beside_teacher", help="folder, 400 MB between parts"
    )
    return parser


def main() -> None:
    """Measure the parts that are missing, then write the table and the picture."""
    parser = build_parser()
    options = parser.parse_args()
    began = time.monotonic()
    try:
        ids = token_ids(options.checkpoint, options.text)
        limit = TEACHER_LIMIT + PASSAGE + DECODED
        teacher = Teacher(options.llama_python, options.teacher, options.threads, limit)
        try:
            results = continued(options.results, settings(options, teacher))
            if max(ids) >= teacher.vocab_size:
                raise ValueError(f"{options.text} has bytes that the teacher cannot read: take other text")
            if results.tokens < CONTEXTS[-1]:
                results = measured(options, results, ids, teacher, began + options.seconds)
        finally:
            teacher.close()
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    if results.tokens < CONTEXTS[-1]:
        print(f"{options.results}: measured up to {results.tokens:,} tokens; the same command continues")
        return
    write_pages(options.results, options.picture)


def token_ids(checkpoint: Path, text: Path) -> list[int]:
    """Return the ids of the text. Raises ValueError if they are too few."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids: list[int] = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    needed = PASSAGES * PASSAGE + CONTEXTS[-1] + DECODED
    if len(ids) < needed:
        raise ValueError(f"{text} has {len(ids):,} tokens: {needed:,} are needed")
    return ids


def settings(options: argparse.Namespace, teacher: Teacher) -> dict[str, str | int]:
    """Return the settings that all parts of a run share."""
    machine, config = Machine.here(), checkpoint_info(options.checkpoint).config
    weights = options.checkpoint / "model.safetensors"
    return {
        "command": COMMAND,
        "machine": f"{machine.cpu} ({machine.cores} cores, {ops.isa_level()})",
        "threads": options.threads,
        "llama.cpp": teacher.version,
        "features": teacher.features,
        "model": f"{config.architecture} in {config.weight_type}",
        "others": "; ".join(memory_of(path) for path in options.others) or "none measured",
        "model_sha256": digest(weights),
        "teacher_sha256": digest(options.teacher),
        "text_sha256": digest(options.text),
        "passages": PASSAGES,
        "passage": PASSAGE,
    }


def memory_of(checkpoint: Path) -> str:
    """Return the name of a model and the bytes of a conversation that has begun."""
    config, model = checkpoint_info(checkpoint).config, Student(checkpoint)
    model.read([0])
    return f"{config.architecture} in {config.weight_type} {model.memory():,} bytes"


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return sha256(file.read_bytes()).hexdigest()


def measured(
    options: argparse.Namespace, results: Results, ids: list[int], teacher: Teacher, end: float
) -> Results:
    """Return the results with the parts that could begin before the end."""
    ops.set_num_threads(options.threads)
    student = Student(options.checkpoint)
    passages = [ids[len(ids) - (i + 1) * PASSAGE :][:PASSAGE] for i in range(PASSAGES)]
    saved = (options.states / "student", options.states / "teacher")
    if results.parts:
        if not saved[0].exists():
            raise ValueError(f"{options.states} has no saved states: remove {options.results} to begin again")
        student.load(saved[0], results.tokens)
        if results.tokens < TEACHER_LIMIT:
            teacher.load(saved[1], results.tokens)
    for tokens in CONTEXTS[len(results.parts) :]:
        if time.monotonic() > end:
            break
        subjects = (student, teacher)[: 2 if tokens <= TEACHER_LIMIT else 1]
        began, load = datetime.datetime.now().isoformat(" ", "seconds"), Machine.here().load
        points = measure_part(subjects, ids, passages, results.tokens, tokens)
        options.states.mkdir(parents=True, exist_ok=True)
        for subject, file in zip(subjects, saved, strict=False):
            subject.save(file)
        results = results.with_part(Part(began, load, points[0], points[1] if len(points) > 1 else None))
        write_results(results, options.results)
    return results


if __name__ == "__main__":
    main()
