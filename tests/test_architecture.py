"""The floors: a module imports only lower floors, or its own folder. Sizes: no file over 400 lines, no function over 60."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgekd"
AGENT = PACKAGE / "bench" / "agent"  # sent to boards as one file, so its modules import each other relatively

FLOORS = {
    "errors": 0, "text": 0,
    "units": 1, "files": 1, "measures": 1,
    "config": 2, "stats": 2,
    "choices": 3, "host_choice": 3, "database": 3, "device": 3, "student": 3, "sla": 3,
    "space": 4, "task": 4, "teaching": 4, "pooling": 4, "retrieval": 4, "vitals": 4,
    "recipe": 5, "record": 5, "networks": 5,
    "cost": 6, "hosts": 6, "data": 6,
    "sizing": 7, "students": 7, "distill": 7, "export": 7, "bench": 7,
    "gate": 8, "probe": 8, "trials": 8,
    "report": 9,
    "display": 9,
    "pipeline": 10,
    "options": 10,
    "cli_devices": 11,
    "cli": 12,
    "entry": 13,
    "__main__": 14,
}  # fmt: skip

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(path for folder in ("edgekd", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Rooms of edgekd that the module imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and path.parent == AGENT:
            assert node.level in {0, 1}, f"{path}:{node.lineno}: the agent must run apart from edgekd"
            names = [] if node.level else [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [node.module or ""]
            if node.module == "edgekd":
                names = [f"edgekd.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "edgekd" and len(parts) > 1 and not parts[1].startswith("__version"):
                yield parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert list(imports_of(path)) == []
        return
    for imported in imports_of(path):
        assert imported == room or FLOORS[imported] < FLOORS[room], f"{room} may not import {imported}"


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    module = tmp_path / "units.py"
    module.write_text("def f():\n    from edgekd.gate.judge import judge\n")
    assert list(imports_of(module)) == ["gate"]


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= set(FLOORS), f"no floor for {rooms - set(FLOORS)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_only_the_command_line_prints() -> None:
    for path in MODULES:
        if room_of(path) in {"cli", "cli_devices", "entry", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno}: print"


def test_tests_mirror_the_package() -> None:
    for path in MODULES:
        relative = path.relative_to(PACKAGE)
        if path.name.startswith("__"):
            continue
        mirror = ROOT / "tests" / relative.parent / f"test_{relative.name}"
        assert mirror.is_file(), f"{relative} has no {mirror.relative_to(ROOT)}"


def names_attentions(text: str) -> bool:
    """Whether the code in `text`, its docstrings and comments apart, says output_attentions."""
    tree = ast.parse(text)
    said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    fields = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return "output_attentions" in said | keywords | fields


def test_nothing_asks_for_attentions_that_sdpa_does_not_give() -> None:
    """transformers answers output_attentions under sdpa with an empty tuple: a loss over it would be 0, unnoticed."""
    for asking in ("f(output_attentions=True)", "c.output_attentions = True", "f(**{'output_attentions': True})"):
        assert names_attentions(asking)
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not names_attentions(text) or '"eager"' in text, f"{path}: attentions without the eager form"
