"""Groups of models that are compared with one another and therefore measured in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pararnn_server.bench.subject import Subject
from pararnn_server.models.find_checkpoint import is_checkpoint, shipped_checkpoints

from benchmarks.llama_cpp.sizes import FORMATS, SIZES, Size


@dataclass(frozen=True)
class Group:
    """A group. seconds: time for its rounds; peers: models of llama.cpp and their formats."""

    name: str
    subjects: tuple[Subject, ...]
    prefills: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: float
    peers: tuple[tuple[Size, str], ...] = ()


# Preset -> formats of ours, of the peer's, prefill lengths, seconds; all but many GB.
_SIZES = {
    "25m": (("f32", "bf16", "int8", "int4"), FORMATS, (512, 2048), 90.0),
    "130m": (("bf16", "int8", "int4"), FORMATS, (512, 2048), 180.0),
    "406m": (("bf16", "int8", "int4"), FORMATS, (512,), 150.0),
    "1.4b": (("bf16", "int8", "int4"), ("q8_0", "q4_0"), (512,), 150.0),
}
_BATCHES = (1, 8, 32)


def groups() -> Iterator[Group]:
    """Yield the shipped checkpoints, then the presets with random weights."""
    yield Group("shipped", tuple(shipped()), (512,), _BATCHES, 60.0)
    for preset, (ours, theirs, prefills, seconds) in _SIZES.items():
        peers = tuple((size, each) for size in SIZES if size.beside == preset for each in theirs)
        subjects = tuple(Subject.random(preset, weights) for weights in ours)
        yield Group(preset, subjects, prefills, _BATCHES, seconds, peers)


def shipped() -> list[Subject]:
    """Return the repository's checkpoints that are meant for use, by name."""
    folders = {path for folder in shipped_checkpoints() for path in folder.iterdir() if is_checkpoint(path)}
    return [Subject.of_checkpoint(path) for path in sorted(folders, key=lambda path: path.name)]


def served_by_default() -> Subject:
    """Return the checkpoint that `pararnn serve` serves by default."""
    return next(each for each in shipped() if each.weights == "int8")
