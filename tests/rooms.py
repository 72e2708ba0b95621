"""The rooms of each package and the imports between them: `python -m tests.rooms` draws them as Mermaid.

A room is a folder with modules, or a module beside folders. A package's `__init__` and `__main__`
are no rooms, nor are modules that only name what a room holds (faces).
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "pararnn_core": ROOT / "pararnn_core",
    "pararnn_server": ROOT / "server" / "pararnn_server",
    "pararnn_client": ROOT / "clients" / "python" / "pararnn_client",
}
FACES = frozenset({"pararnn_core.generate", "pararnn_core.sampling_params"})
"""Modules that users import from and that hold nothing of their own."""


def sources(package: str) -> list[Path]:
    """Return all modules of a package."""
    return sorted(PACKAGES[package].rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the dotted name of a module."""
    for package, folder in PACKAGES.items():
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            return ".".join((package, *(part for part in parts if part != "__init__")))
    raise ValueError(f"{path} is in no package")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, absolute: `from a import b` gives a and a.b."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def room_of(module: str, modules: Mapping[str, Path]) -> str | None:
    """Return the room of a module: its folder below the package, or itself if it is beside folders."""
    _, *rest = module.split(".")
    if not rest or rest == ["__main__"] or module in FACES:
        return None
    is_folder = modules[module].name == "__init__.py"
    folder = rest if is_folder else rest[:-1]
    return "/".join(folder or rest)


def room_graph(package: str) -> dict[str, set[str]]:
    """Return the rooms of a package, each with the rooms that it imports."""
    modules = {module_name(path): path for path in sources(package)}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        room = room_of(module, modules)
        if room is None:
            continue
        # A folder's `__init__` names what its modules hold: its imports are theirs.
        used = {name for name in imports(path) if name in modules}
        found = {other for other in (room_of(name, modules) for name in used) if other is not None}
        graph.setdefault(room, set()).update(found - {room})
    return graph


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room, one above the highest that it imports. Raises CycleError."""
    floor: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        floor[room] = 1 + max((floor[lower] for lower in graph[room]), default=0)
    return floor


def mermaid(graph: Mapping[str, set[str]]) -> str:
    """Return the graph as a Mermaid diagram, without arrows that longer ways imply."""
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        reached[room] = graph[room].union(*(reached[lower] for lower in graph[room]))
    lines = ["graph TD"]
    for room in sorted(graph):
        implied = set().union(*(reached[lower] for lower in graph[room]))
        lines += [f"    {room} --> {lower}" for lower in sorted(graph[room] - implied)]
    return "\n".join(lines)


def main() -> None:
    """Print the rooms, floors and arrows of each package, and its diagram."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), help="default: all")
    for package in parser.parse_args().packages:
        graph = room_graph(package)
        tops = {room.split("/")[0] for room in graph}
        print(
            f"{package}: {len(graph)} rooms ({len(tops)} at the top),"
            f" {max(floors(graph).values(), default=0)} floors, {sum(map(len, graph.values()))} arrows"
        )
        print(mermaid(graph))


if __name__ == "__main__":
    main()
