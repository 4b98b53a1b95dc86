"""The import graph, drawn from the code: four packages, one-way arrows, no circles."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("splits", "baselines", "leaderboard", "benchkit")
# What the parts of benchkit may import of one another, from the bottom to the top.
LAYERS = (
    {"base", "losses", "metrics"},
    {"download", "images"},
    {"split"},
    {"training"},
    {"runs"},
    {"api"},
    {"cli"},
)
FOREIGN = {
    "splits": {"numpy", "scipy", "pandas", "pycocotools", "pyarrow"},
    "baselines": {"torch"},
    "leaderboard": {"numpy", "pandas", "scipy", "jinja2", "markupsafe", "matplotlib", "rich"},
}
Graph = dict[str, set[str]]


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """The dotted names that a file imports, also inside functions, except for type checking."""
    names: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo.extend(ast.iter_child_nodes(node))
    return names


def part(module: str) -> str:
    """The part of benchkit that a module belongs to: the name after `benchkit.`."""
    return module.split(".")[1] if "." in module else ""


def parts_graph() -> Graph:
    """Part of benchkit -> the other parts that it imports."""
    graph: Graph = {}
    for module, path in modules("benchkit").items():
        targets = {part(name) for name in imports(path) if name.startswith("benchkit.")}
        graph.setdefault(part(module), set()).update(targets)
    known = {part(module) for module in modules("benchkit")}
    return {name: (targets & known) - {name} for name, targets in graph.items()}


def test_the_three_libraries_import_neither_one_another_nor_benchkit() -> None:
    for package in PACKAGES[:-1]:
        for module, path in modules(package).items():
            tops = {name.split(".")[0] for name in imports(path)}
            assert not tops & (set(PACKAGES) - {package}), module


@pytest.mark.parametrize("package", FOREIGN)
def test_the_three_libraries_need_only_what_they_may(package: str) -> None:
    for module, path in modules(package).items():
        tops = {name.split(".")[0] for name in imports(path)} - {package, "__future__"}
        assert tops <= FOREIGN[package] | sys.stdlib_module_names, module


def test_benchkit_has_at_most_a_dozen_sub_packages() -> None:
    folders = {path.parent for path in (ROOT / "benchkit").glob("*/__init__.py")}
    assert 7 <= len(folders) <= 12


def test_arrows_between_the_parts_of_benchkit_point_down() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    graph = parts_graph()
    free = {"", "__main__"}  # the namespace itself and `python -m benchkit`
    for name, targets in graph.items():
        for target in targets - free:
            assert name in free or level[target] < level[name], f"{name} imports {target}"
    assert set(graph) - free <= set(level)


def test_no_circle_of_modules() -> None:
    """Depth-first search over all modules; imports inside functions count as well."""
    files = {name: path for package in PACKAGES for name, path in modules(package).items()}
    lazy = {name for name, path in files.items() if "__getattr__" in path.read_text()}
    graph = {name: {n for n in imports(path) if n in files} for name, path in files.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done or name in lazy:
            return
        for target in graph[name] - {name}:
            visit(target, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())
