"""The rules of the house that an eye on the source can check."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gancli"
FILES = sorted(PACKAGE.rglob("*.py"))

# Imports point from later rooms to earlier ones.
ROOMS = [
    "errors",
    "signals",
    "files",
    "outputs",
    "memory",
    "seeds",
    "devices",
    "archives",
    "process",
    "weights",
    "fetch",
    "metrics.glossary",
    "recipe",
    "models.__init__",
    "data",
    "gan",
    "models",
    "metrics",
    "runs",
    "make",
    "score",
    "training",
    "setup",
    "arguments",
    "api",
    "cli",
    "__main__",
]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


def rank(name: str) -> int:
    found = [room for room in ROOMS if name == room or name.startswith(f"{room}.")]
    assert found, f"{name} stands in no room of ROOMS"
    return ROOMS.index(max(found, key=len))


def imports(tree: ast.AST) -> list[str]:
    """Modules of gancli that a tree imports, by their names inside the package."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    inside = [name.removeprefix("gancli.") for name in found if name.startswith("gancli.")]
    return [module_of(name) for name in inside]


def module_of(name: str) -> str:
    """The module that holds a dotted name: a file, or the folder's __init__."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:length])
        if path.with_suffix(".py").is_file():
            return ".".join(parts[:length])
        if path.is_dir():
            return ".".join([*parts[:length], "__init__"])
    return "__init__"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        return
    own = name_of(file)
    for other in imports(ast.parse(file.read_text())):
        assert rank(other) <= rank(own), f"{own} imports {other}, a later room"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_the_command_line_talks(file: Path) -> None:
    if file.is_relative_to(PACKAGE / "cli"):
        return
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name_of(file)}:{node.lineno} prints"
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert "typer" not in names and getattr(node, "module", None) != "typer"


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")), ids=name_of)
def test_only_the_door_prints(file: Path) -> None:
    """So that no command prints text from outside without escaping it."""
    if file.stem == "door":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        printing = {"print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"}
        assert not isinstance(node, ast.Call) or ast.unparse(node.func) not in printing, (
            f"{name_of(file)}:{node.lineno}"
        )


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")), ids=name_of)
def test_commands_import_what_is_heavy_when_they_run(file: Path) -> None:
    allowed = {
        "typer",
        "typer.core",
        "collections.abc",
        "gancli.cli",
        "gancli.cli.examples",
        "gancli.cli.progress",
        "gancli.cli.device",
        "gancli.errors",
        *sys.stdlib_module_names,
    }
    for node in ast.parse(file.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        assert set(names) <= allowed, f"{name_of(file)} imports {names} at its top"


FAMILIES = sorted(path.parent for path in PACKAGE.glob("models/*/recipe.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_family_is_imported_by_name_but_by_another(file: Path) -> None:
    assert FAMILIES
    if file.parent not in FAMILIES:
        found = imports(ast.parse(file.read_text()))
        assert not [name for name in found if name.startswith(tuple(f"models.{path.name}." for path in FAMILIES))]


@pytest.mark.parametrize("file", [path / "recipe.py" for path in FAMILIES], ids=name_of)
def test_a_family_s_recipe_imports_nothing_heavy(file: Path) -> None:
    allowed = ("recipe.", "models.", "errors")
    for node in ast.parse(file.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            light = name.partition(".")[0] in {*sys.stdlib_module_names, "pydantic"}
            assert light or name.removeprefix("gancli.").startswith(allowed), f"{name_of(file)} imports {name}"
            assert not name.endswith(".model"), f"{name_of(file)} imports networks"


def test_files_are_rooms_not_warehouses() -> None:
    names = {part for file in FILES for part in file.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
