"""The verification ledger: whole rows, tests that exist and reach the method, a page in step."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

import baselines
from baselines.core import registry
from baselines.core.contract import SOURCES, Method
from benchkit.cli.methods import ledger_markdown

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/baselines/vectors"
OURS = {key: m for key, m in registry.builtin().items() if m.__module__.startswith("baselines.")}
# What every method stands on proves nothing of one; the sampler and the losses do.
COMMON = ("contract", "draw", "heads", "hyperparameters", "registry", "statistics")


@pytest.fixture(params=OURS)
def method(request: pytest.FixtureRequest) -> type[Method]:
    return OURS[request.param]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def file_of(module: str) -> Path | None:
    """The file of a module of this room, where there is one."""
    path = ROOT / module.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


@functools.cache
def imports(path: Path) -> dict[str, str]:
    """Name in a file -> module of `baselines` that it is, or comes from."""
    found = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("baselines"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = whole if file_of(whole) else str(node.module)
    return found


def defined(path: Path) -> dict[str, ast.AST]:
    """Name -> the statement at the top level of a file that defines it."""
    found: dict[str, ast.AST] = {}
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


@functools.cache
def words(path: Path, name: str) -> frozenset[str]:
    """Every name and string in a test, and in what it uses in its file.

    Arguments count as names, because they are fixtures.
    """
    known, todo, seen = defined(path), [name], set()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in ast.walk(known[current]) if current in known else ():
            if isinstance(node, ast.Name):
                todo.append(node.id)
            elif isinstance(node, ast.arg):
                todo.append(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                seen.add(node.value)
    return frozenset(seen)


@functools.cache
def reached(path: Path, name: str) -> frozenset[str]:
    """The modules and vector files that a test names, itself or through what it uses."""
    found = words(path, name)
    modules = {module for word, module in imports(path).items() if word in found}
    files = {file.stem for file in VECTORS.glob("*.json") if file.stem in found}
    return frozenset(modules | files)


def takes_steps_of(method: type[Method], path: Path, name: str) -> bool:
    """Whether a test uses the method's class, or gets it by a key that it names."""
    found, key = words(path, name), method.info.key
    by_key = "registry" in found and bool({key, key.replace("-", "_")} & found)
    return method.__name__ in found or by_key


@functools.cache
def stands_on(module: str) -> frozenset[str]:
    """A module of `baselines` and those that it imports, without what all methods share."""
    path, found = file_of(module), {module}
    for other in set(imports(path).values()) if path else ():
        if other != "baselines.core" and not other.endswith(COMMON):
            found |= stands_on(other)
    return frozenset(found)


def split(node: str) -> tuple[Path, str]:
    path, _, name = node.partition("::")
    return ROOT / path, name


def test_every_file_of_the_folder_has_a_row() -> None:
    files = {path.stem for path in Path(baselines.__path__[0]).glob("[a-z]*.py")}
    assert {m.__module__.split(".")[1] for m in OURS.values()} == files


def test_the_row_is_whole(method: type[Method]) -> None:
    info = method.info
    assert info.source in SOURCES
    assert info.reference
    assert re.match(r".*(\b1e-\d+|bit for bit)", info.tolerance)
    assert info.evidence
    assert len(set(info.evidence)) == len(info.evidence)
    if info.source == "authors' code":
        given = r"\w@[0-9a-f]{7}\b|^as (bce|db-focal): "
        assert re.search(given, info.reference), "the authors' code is code at a commit"


def test_the_tests_exist_and_hold_values_of_the_method(method: type[Method]) -> None:
    own = stands_on(method.__module__)
    found = set()
    for node in method.info.evidence:
        path, name = split(node)
        assert path.is_file(), node
        function = defined(path).get(name)
        assert isinstance(function, ast.FunctionDef), f"{node} does not exist"
        text = ast.unparse(function)
        assert re.search(r"\bassert|\b(check|close)\(", text), f"{node} asserts nothing"
        assert "skip" not in text, f"{node} may be skipped"
        near = reached(path, name) & own or takes_steps_of(method, path, name)
        assert near, f"{node} does not reach {sorted(own)}"
        found |= reached(path, name)
    assert method.__module__ in found, "no test reaches the method's own file"


def test_a_test_holds_the_method_and_not_its_functions_alone(method: type[Method]) -> None:
    """A method that hands its loss a wrong option has to make one of its tests fail."""
    nodes = [split(node) for node in method.info.evidence]
    assert any(takes_steps_of(method, *node) for node in nodes), "no test makes one of these"


def test_vectors_of_the_authors_are_read(method: type[Method]) -> None:
    """Only a file of their numbers can hold a method to the authors' code, and it names them."""
    if method.info.source != "authors' code":
        return
    names = {n for node in method.info.evidence for n in reached(*split(node)) if "." not in n}
    inherits = method.info.reference.startswith("as ")
    reference = (
        OURS[method.info.reference[3:].split(":")[0]].info.reference
        if inherits
        else method.info.reference
    )
    texts = [(VECTORS / f"{name}.json").read_text() for name in names]
    for repository in re.findall(r"[\w.-]+/[\w.-]+@[0-9a-f]{7}", reference):
        start = f'"source": "{repository}'
        assert any(start in text for text in texts), f"no vector file is of {repository}"


def test_a_test_that_proves_nothing_is_noticed() -> None:
    here = ROOT / "tests/baselines"
    assert "baselines.asl" in reached(here / "test_asl.py", "test_equals_the_authors_code")
    assert "pl_asl" in reached(here / "test_asl.py", "test_equals_the_authors_code")
    assert not reached(here / "test_core.py", "test_masked_mean") & stands_on("baselines.asl")
    assert takes_steps_of(OURS["gce"], here / "test_candidates.py", "test_stacks")
    assert not takes_steps_of(
        OURS["gce"], here / "test_candidates_losses.py", "test_generalised_cross_entropy"
    )
    assert "baselines.db_focal" in stands_on("baselines.db_clean")
    assert not any(m.startswith("baselines.core.contract") for m in stands_on("baselines.asl"))


def test_the_page_is_what_the_command_prints() -> None:
    page = (ROOT / "docs/ledger.md").read_text()
    printed = ledger_markdown(m.info for m in OURS.values())
    wanted = "benchkit methods --ledger --format markdown > docs/ledger.md"
    assert page == printed, f"docs/ledger.md is stale; write it again: {wanted}"


def test_the_methods_page_names_every_method() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/methods.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(OURS)
