"""Rooms of csrc, read off the includes: each room includes only lower ones, and one alone knows Torch."""

import re
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cuh", ".cpp", ".cu"})

ROOMS = (
    ("params", "require.h"),
    ("math",),
    ("kernels.h", "models"),
    ("cpu/simd",),
    ("cpu/threads",),
    ("cpu/limits", "cpu/models", "cpu/products", "cpu/rows", "cpu/sampling"),
    ("cpu/scans",),
    ("cuda",),
    ("cuda/products", "cuda/rows", "cuda/sampling"),
    ("cuda/scans",),
    ("torch",),
)
"""Lowest first. A room is a folder, or a header beside folders.

It includes only rooms of lower lines, so no circle is possible.
"""

MOST_ROOMS = 8
HOST_STAND_INS = {"fibers.h", "host_mma.h", "host_ops.h"}
"""Headers of tests/cuda_host, which take the place of a GPU."""


def includes(path: Path) -> list[str]:
    """Return the includes of a file: `"name"` of the project, `<name>` of others."""
    return re.findall(r"^#\s*include\s+(\S+)", path.read_text(), re.MULTILINE)


def own_includes(path: Path) -> set[str]:
    return {name.strip('"') for name in includes(path) if name.startswith('"')} - HOST_STAND_INS


def room_of(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return folder or name


def room_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        room = room_of(path.relative_to(CSRC).as_posix())
        graph.setdefault(room, set()).update({room_of(name) for name in own_includes(path)} - {room})
    return graph


def test_every_include_is_a_path_from_csrc() -> None:
    assert SOURCES
    for path in SOURCES:
        missing = {name for name in own_includes(path) if not (CSRC / name).is_file()}
        assert missing == set(), path


def test_rooms_include_only_lower_ones() -> None:
    line = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    graph = room_graph()
    assert graph.keys() == line.keys()
    wrong = [f"{room} -> {used}" for room in graph for used in graph[room] if line[used] >= line[room]]
    assert wrong == []


def test_cpu_and_cuda_know_nothing_of_each_other() -> None:
    graph = room_graph()
    sides = {room: room.split("/")[0] for room in graph}
    pairs = {(sides[room], sides[used]) for room in graph for used in graph[room]}
    assert pairs.isdisjoint({("cpu", "cuda"), ("cuda", "cpu")})


def test_csrc_has_few_rooms() -> None:
    assert len({room.split("/")[0] for room in room_graph()}) <= MOST_ROOMS


def test_only_the_torch_room_includes_torch_headers() -> None:
    users = {path.parent for path in SOURCES for name in includes(path) if name.startswith("<torch/")}
    assert users == {CSRC / "torch"}
