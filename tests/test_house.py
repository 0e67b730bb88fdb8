"""Imports go down only, and a method never imports another."""

import ast
from pathlib import Path

import pytest

import labelwise

PACKAGE = Path(labelwise.__file__).parent
# From the ground up; rooms of one floor do not know each other.
FLOORS = (
    ("callable_package", "errors", "card", "progress_bars"),
    ("files",),
    ("labels",),
    ("numerics",),
    ("data", "memory", "networks"),
    ("training",),
    ("audit", "certainty", "methods"),
    ("estimators",),
    ("report", "reproductions", "review"),
    ("job",),
    ("cli",),
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> set[tuple[str, ...]]:
    """Modules of the package that a file imports, also inside functions, without `labelwise.`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("labelwise."):
            names.add(tuple(node.module.split(".")[1:]))
            names |= {(*node.module.split(".")[1:], alias.name) for alias in node.names}
    return names


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = parts[0]
    assert room in FLOOR, f"the room {room} has no floor: say in FLOORS where it stands"
    for target in imported(path):
        other = target[0]
        if other == room or other not in FLOOR:
            continue
        assert FLOOR[other] < FLOOR[room], f"{'/'.join(parts)} imports {'.'.join(target)}, which is not below it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*/*.py")), ids=lambda path: path.stem)
def test_a_method_imports_no_other_method(path: Path) -> None:
    assert not [target for target in imported(path) if target[0] == "methods"]
