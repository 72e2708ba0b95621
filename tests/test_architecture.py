"""The allowed imports of ARCHITECTURE.md, compared with the code, and a check for hidden imports."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.rooms import PACKAGES, imports, module_name, room_graph, sources

ROOMS = {
    "pararnn_core": (
        ("storage",),
        ("weights",),
        ("ops",),
        ("solvers", "state", "sampling"),
        ("cells",),
        ("models",),
        ("device",),
        ("models/pararnn", "models/rwkv7"),
        ("checkpoint",),
        ("convert", "quantize", "training"),
        ("assemble", "tuning"),
    ),
    "pararnn_server": (
        ("tools",),
        ("errors", "settings"),
        ("fetch", "metrics", "state_cache"),
        ("access", "http/schemas"),
        ("concurrency", "sessions/stores"),
        ("sessions", "text"),
        ("engine", "grammars"),
        ("models", "http/formats"),
        ("http",),
        ("http/connections", "responses", "monitor"),
        ("http/routes",),
        ("app", "bench"),
        ("commands",),
    ),
}
"""Lowest first. A room imports only rooms of lower lines, and none of its own line."""

MOST_ROOMS = {"pararnn_core": 15, "pararnn_server": 20}
TORCH_FREE = (
    "http/schemas",
    "engine/scheduler",
    "engine/stop",
    "engine/request",
    "errors",
    "http/formats/sse",
    "settings",
)


IMPORTS_BY_STRING = {
    # An interrupt while the command line is imported ends without a traceback.
    "pararnn_server.__main__": {"pararnn_server.commands.cli"},
    # `--help` and one command import no other command.
    "pararnn_server.commands.cli": {"pararnn_server.commands.{module}"},
    # The checkpoint loads on a thread while the web framework is imported.
    "pararnn_server.commands.serve": {"pararnn_server.app.process"},
    # To see that a model is there already needs no torch.
    "pararnn_server.fetch.fetch_model": {"pararnn_core.assemble.assemble"},
    # Matplotlib is an extra.
    "pararnn_core.training.finish": {"pararnn_core.training.curve"},
    # The redis client is an extra.
    "pararnn_server.sessions.stores.open_store": {"pararnn_server.sessions.stores.redis_store"},
}
"""Modules that import another when it is needed; no other import hides in a string."""


def all_sources() -> list[Path]:
    return [path for package in PACKAGES for path in sources(package)]


def imports_package(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in imports(path))


def test_packages_are_where_this_test_looks() -> None:
    assert all(sources(package) for package in PACKAGES)


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
    assert [str(path) for path in sources(package) if imports_package(path, forbidden)] == []


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_lower_ones(package: str) -> None:
    line = {room: number for number, rooms in enumerate(ROOMS[package]) for room in rooms}
    graph = room_graph(package)
    assert graph.keys() == line.keys()
    wrong = [f"{room} -> {used}" for room in graph for used in graph[room] if line[used] >= line[room]]
    assert wrong == []


@pytest.mark.parametrize("package", ROOMS)
def test_a_package_has_few_rooms(package: str) -> None:
    assert len({room.split("/")[0] for room in room_graph(package)}) <= MOST_ROOMS[package]


@pytest.mark.parametrize("package", ROOMS)
def test_modules_import_in_no_circle(package: str) -> None:
    modules = {module_name(path): path for path in sources(package)}
    graph = {name: {used for used in imports(path) if used in modules} for name, path in modules.items()}
    # `from a import b` names the package a beside its module b.
    for name, used in graph.items():
        used -= {other for other in used if name.startswith(f"{other}.")} | {name}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_says_in_one_sentence_what_it_is_for(package: str) -> None:
    for folder in sorted({path.parent for path in sources(package)}):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        assert text.split("\n\n")[0].endswith("."), folder
        assert "\n" not in text.split("\n\n")[0], folder


def test_modules_of_the_cells_import_in_no_circle() -> None:
    """Imports for types count too. Solvers import the recurrence and no cell."""
    prefix = "pararnn_core.cells."
    graph = {}
    for path in PACKAGES["pararnn_core"].glob("cells/*.py"):
        found = {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
        graph[module_name(path).removeprefix(prefix)] = found
    TopologicalSorter(graph).prepare()
    solvers = ("adjoint", "bound", "kernels", "native", "probe", "solve", "tangent")
    assert [name for name in solvers if graph[name] & {"base", "gru", "lstm"}] == []


def test_newton_knows_no_cell() -> None:
    text = (PACKAGES["pararnn_core"] / "solvers" / "newton.py").read_text()
    assert not any(word in text for word in ("ParaGRU", "ParaLSTM"))


def test_only_ops_reaches_the_native_library() -> None:
    users = {
        module_name(path)
        for path in all_sources()
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


def test_no_function_hides_an_internal_import() -> None:
    hidden = [
        f"{path}:{node.lineno}"
        for path in all_sources()
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_imports_by_string_are_those_that_this_test_lists() -> None:
    found: dict[str, set[str]] = {}
    for path in all_sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if (name := imported_by_string(node)) is not None:
                found.setdefault(module_name(path), set()).add(name)
    assert found == IMPORTS_BY_STRING


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('importlib.import_module("a.b")', "a.b"),
        ('import_module(f"a.{x}")', "a.{x}"),
        ('__import__("a")', "a"),
        ('load("pararnn_server.app:make")', "pararnn_server.app:make"),
        ('load("a: b")', None),
    ],
)
def test_an_import_by_string_is_found_in_every_spelling(text: str, name: str | None) -> None:
    names = [found for node in ast.walk(ast.parse(text)) if (found := imported_by_string(node)) is not None]
    assert names == ([] if name is None else [name])


def imported_by_string(node: ast.AST) -> str | None:
    """The module that a call imports by its name, or that a string "module:attribute" names."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
        "import_module",
        "__import__",
    ):
        return ast.unparse(node.args[0]).lstrip("f").strip("'\"")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if re.fullmatch(r"pararnn_\w+(\.\w+)*:\w+", node.value) else None
    return None
