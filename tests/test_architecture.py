"""The arrows of ARCHITECTURE.md, read off the imports: who may know whom, and that no import hides."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "pararnn_core": ROOT / "pararnn_core",
    "pararnn_server": ROOT / "server" / "pararnn_server",
    "pararnn_client": ROOT / "clients" / "python" / "pararnn_client",
}
SOURCES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))

# Lowest first: no module may reach one that stands after it, by any chain of imports.
CORE_CHAIN = ("ops", "scan", "newton", "cells", "layers", "model", "checkpoint", "convert")
TORCH_FREE = ("schemas", "scheduler", "stop", "request", "errors", "sse", "settings")


def module_name(path: Path) -> str:
    for package, folder in PACKAGES.items():
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            return ".".join((package, *(part for part in parts if part != "__init__")))
    raise AssertionError(f"{path} is in no package")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, absolute: `from a import b` gives a and a.b."""
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


def imports_package(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in imports(path))


def in_package(package: str) -> list[Path]:
    return [path for path in SOURCES if path.is_relative_to(PACKAGES[package])]


def test_packages_are_where_this_test_looks() -> None:
    assert all(in_package(package) for package in PACKAGES)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("pararnn_core", "pararnn_server"),
        ("pararnn_core", "pararnn_client"),
        ("pararnn_core", "fastapi"),
        ("pararnn_client", "pararnn_core"),
        ("pararnn_client", "pararnn_server"),
        ("pararnn_client", "torch"),
    ],
)
def test_package_never_imports(package: str, forbidden: str) -> None:
    assert [str(path) for path in in_package(package) if imports_package(path, forbidden)] == []


def core_imports() -> dict[str, set[str]]:
    """Which modules directly below pararnn_core each of them imports."""
    graph: dict[str, set[str]] = {}
    for path in in_package("pararnn_core"):
        own = module_name(path).split(".")
        if len(own) > 1:
            parts = [name.split(".") for name in imports(path)]
            found = {part[1] for part in parts if part[0] == "pararnn_core" and len(part) > 1}
            graph.setdefault(own[1], set()).update(found - {own[1]})
    return {module: found & graph.keys() for module, found in graph.items()}


def test_core_imports_have_no_cycle() -> None:
    TopologicalSorter(core_imports()).prepare()


def test_modules_of_the_cells_import_in_no_circle() -> None:
    """Not for types alone either: solvers know a recurrence, and no cell."""
    prefix = "pararnn_core.cells."
    graph = {}
    for path in PACKAGES["pararnn_core"].glob("cells/*.py"):
        found = {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
        graph[module_name(path).removeprefix(prefix)] = found
    TopologicalSorter(graph).prepare()
    solvers = ("adjoint", "bound", "kernels", "native", "probe", "solve", "tangent")
    assert [name for name in solvers if graph[name] & {"base", "gru", "lstm"}] == []


def test_core_modules_reach_only_lower_ones() -> None:
    graph, reached = core_imports(), dict[str, set[str]]()
    for module in TopologicalSorter(graph).static_order():
        reached[module] = graph[module].union(*(reached[lower] for lower in graph[module]))
    wrong = [
        f"{lower} -> {upper}"
        for level, lower in enumerate(CORE_CHAIN)
        for upper in CORE_CHAIN[level + 1 :]
        if upper in reached[lower]
    ]
    assert wrong == []
    assert reached["ops"] == {"quantized_matrix"}
    assert reached["quantized_matrix"] == set()


def test_newton_knows_no_cell() -> None:
    text = (PACKAGES["pararnn_core"] / "newton.py").read_text()
    assert not any(word in text for word in ("ParaGRU", "ParaLSTM"))


def test_only_ops_reaches_the_native_library() -> None:
    users = {
        module_name(path)
        for path in SOURCES
        if "torch.ops.pararnn" in path.read_text() or "load_library(" in path.read_text()
    }
    assert users
    assert all(user.split(".")[:2] == ["pararnn_core", "ops"] for user in users), users


@pytest.mark.parametrize("name", TORCH_FREE)
def test_module_imports_no_torch(name: str) -> None:
    folder = PACKAGES["pararnn_server"]
    paths = [*folder.glob(f"{name}.py"), *folder.glob(f"{name}/**/*.py")]
    assert paths
    assert [str(path) for path in paths if imports_package(path, "torch")] == []


def test_kernels_never_see_torch_headers() -> None:
    csrc = ROOT / "csrc"
    shared = [csrc / name for name in ("cell_math.h", "cells.h", "params.h", "kernels.h", "model.h")]
    files = [*csrc.glob("cpu/*"), *csrc.glob("cuda/*"), *csrc.glob("params/*"), *shared]
    assert [path.name for path in files if "#include <torch" in path.read_text()] == []


def test_no_function_hides_an_internal_import() -> None:
    hidden = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []
