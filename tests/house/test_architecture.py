"""The house keeps its order: imports go down the table of docs/design.md, and onnxruntime has one door."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT_DOOR = ("tse_onnx/__init__.py", "tse_onnx/__main__.py")  # they reach every room, and no room reaches them
MODULES = {
    ".".join(
        (package, *(part for part in file.relative_to(ROOT / folder).with_suffix("").parts if part != "__init__"))
    ): file
    for folder, package in (("tse_onnx", "tse_onnx"), ("passes", "tse_onnx.passes"))
    for file in sorted((ROOT / folder).rglob("*.py"))
}


def _floors() -> list[str]:
    text = (ROOT / "docs" / "design.md").read_text()
    return re.findall(r"^\| `((?:tse_onnx|passes)/[a-z_/]*)` \|", text, re.MULTILINE)


FLOORS = _floors()


def _room(file: Path) -> str:
    return f"{file.parent.relative_to(ROOT).as_posix()}/"


def _imports(file: Path) -> Iterator[tuple[int, str]]:
    """Each import of a file with its line: at its top, within functions, and for types alone."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else node.module


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    file = MODULES[module]
    if str(file.relative_to(ROOT)) in FRONT_DOOR:
        return
    assert _room(file) in FLOORS, f"docs/design.md does not list the room {_room(file)}"
    for line, name in _imports(file):
        target = MODULES.get(name)
        if target is None or _room(target) == _room(file) or (name == "tse_onnx" and file.parent.name == "cli"):
            continue
        assert FLOORS.index(_room(target)) > FLOORS.index(_room(file)), f"{file}:{line} imports upward: {name}"


def test_no_file_imports_in_a_circle():
    """Within a room as well: what is imported while a module is imported, types and functions aside, has no circle."""
    graph = {module: {name for _, name in _at_once(file) if name in MODULES} for module, file in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " imports ".join((*way[way.index(module) :], module))
        if module not in done:
            for name in graph[module]:
                visit(name, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def _at_once(file: Path) -> Iterator[tuple[int, str]]:
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                whole = f"{statement.module}.{alias.name}"
                yield statement.lineno, whole if whole in MODULES else statement.module


BY_NAME = {"tse_onnx", "tse_onnx.cli.commands"}  # and nothing but what is in this package


def test_onnxruntime_has_one_door():
    for module, file in MODULES.items():
        if _room(file) != "tse_onnx/runtime/":
            used = [line for line, name in _imports(file) if name.split(".")[0] == "onnxruntime"]
            assert not used, f"{file}:{used[0]} imports onnxruntime"
            assert "import_module" not in file.read_text() or module in BY_NAME, f"{file} imports by name"


def test_one_file_knows_where_a_node_has_graphs():
    """What walks over nested graphs of its own forgets a list of them, or a function."""
    knows = {module for module, file in MODULES.items() if re.search(r"AttributeProto\.GRAPHS?\b", file.read_text())}
    assert knows == {"tse_onnx.passes.graph.nested"}


def test_the_passes_stand_alone():
    for module, file in MODULES.items():
        if module.startswith("tse_onnx.passes"):
            for line, name in _imports(file):
                inside = (
                    not name.startswith("tse_onnx") or name.startswith("tse_onnx.passes") or name == "tse_onnx.errors"
                )
                assert inside, f"{file}:{line} imports {name}"


def test_the_proof_shares_nothing_with_the_rewrite():
    for module, file in MODULES.items():
        if _room(file) == "tse_onnx/verification/":
            assert not [name for _, name in _imports(file) if name.startswith("tse_onnx.passes.lowering")], module


def test_every_room_says_what_it_is_for():
    for room in FLOORS:
        docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
        assert docstring, f"{room}__init__.py says nothing"
