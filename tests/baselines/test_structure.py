"""The import graph of `baselines`, drawn from the code.

Methods import `core` and `shared`, `shared` imports `core`, and nothing imports a method.
"""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import baselines

FOLDER = Path(baselines.__path__[0])
MODULES = {
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts): path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.name != "__init__.py"
}
METHODS = [module for module in MODULES if module.count(".") == 1]
CORE = [module for module in MODULES if module.startswith("baselines.core.")]
SHARED = [module for module in MODULES if module.startswith("baselines.shared.")]
CORE_PACKAGE = "baselines.core"


def imported_modules(path: Path) -> set[str]:
    """The modules that a file imports, at its top or inside of functions."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                modules.add(submodule if submodule in MODULES else str(node.module))
    return modules


def own_imports(module: str) -> set[str]:
    return {name for name in imported_modules(MODULES[module]) if name.startswith("baselines")}


@pytest.mark.parametrize("module", METHODS)
def test_a_method_imports_core_and_shared_only(module: str) -> None:
    assert own_imports(module) <= {CORE_PACKAGE, *CORE, *SHARED}


@pytest.mark.parametrize("module", SHARED)
def test_shared_imports_core_and_shared_only(module: str) -> None:
    assert own_imports(module) <= {CORE_PACKAGE, *CORE, *SHARED}


@pytest.mark.parametrize("module", CORE)
def test_core_imports_core_only(module: str) -> None:
    assert own_imports(module) <= {"baselines", CORE_PACKAGE, *CORE}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_but_torch_and_the_standard_library(module: str) -> None:
    packages = {name.split(".")[0] for name in imported_modules(MODULES[module])}
    assert packages <= {"baselines", "torch", *sys.stdlib_module_names}


def test_imports_have_no_cycle() -> None:
    graph = {module: own_imports(module) & MODULES.keys() for module in MODULES}
    TopologicalSorter(graph).prepare()
