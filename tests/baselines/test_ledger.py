"""The verification ledger: complete rows, tests that exist, and generated pages in step with it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import baselines
from baselines.core import descriptions, ledger

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(baselines.__path__[0])
VECTORS = ROOT / "tests/baselines/vectors"


def load_script() -> ModuleType:
    """`scripts/generate_docs.py` as a module."""
    spec = importlib.util.spec_from_file_location(
        "generate_docs", ROOT / "scripts/generate_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate_docs = load_script()
ROWS: dict[str, dict[str, Any]] = generate_docs.read_ledger()
INFOS = {
    info.key: info
    for path in sorted(FOLDER.glob("[a-z]*.py"))
    for info in descriptions.read_file(path) or []
}


@functools.cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """Name -> definition of the functions at the top level of a file."""
    tree = ast.parse(path.read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def table_rows(page: str) -> dict[str, str]:
    """Key -> line of every row of a Markdown page whose first cell is a method's key."""
    lines = re.findall(r"^\| `([a-z0-9-]+)` \|.*$", page, re.MULTILINE)
    texts = re.findall(r"^\| `[a-z0-9-]+` \|.*$", page, re.MULTILINE)
    assert len(set(lines)) == len(lines), "a method has two rows"
    return dict(zip(lines, texts, strict=True))


# ------------------------------------------------------------------- the rows


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert sorted(ROWS) == sorted(INFOS)


@pytest.mark.parametrize("key", ROWS)
def test_the_row_is_complete(key: str) -> None:
    row = ROWS[key]
    assert set(row) == {"source", "reference", "tolerance", "deviations", "tests"}
    assert all(row.values()), "a field is empty"
    assert row["source"] in ledger.SOURCES
    assert re.search(r"\b1e-\d+|bit for bit", row["tolerance"])
    assert len(set(row["tests"])) == len(row["tests"]), "a test is named twice"


@pytest.mark.parametrize("key", ROWS)
def test_authors_code_is_code_at_a_commit(key: str) -> None:
    """A vector file with their numbers names the same repository and commit."""
    row = ROWS[key]
    if row["source"] != "authors' code":
        return
    inherited = re.match(r"as ([a-z-]+):", row["reference"])
    reference = ROWS[inherited[1]]["reference"] if inherited else row["reference"]
    repositories = re.findall(r"[\w.-]+/[\w.-]+@[0-9a-f]{7}", reference)
    assert repositories
    texts = [path.read_text() for path in VECTORS.glob("*.json")]
    for repository in repositories:
        assert any(f'"source": "{repository}' in text for text in texts), repository


@pytest.mark.parametrize("key", ROWS)
def test_the_tests_exist_and_cannot_be_skipped(key: str) -> None:
    for node in ROWS[key]["tests"]:
        file, _, name = node.partition("::")
        assert (ROOT / file).is_file(), node
        assert name in functions(ROOT / file), f"{node} does not exist"
        assert "skip" not in ast.unparse(functions(ROOT / file)[name]), f"{node} may be skipped"


# ------------------------------------------------------------------- generated pages
# A row that is missing from a page is not an error: a new method does not need the pages.


def test_the_ledger_page_is_up_to_date() -> None:
    expected = table_rows(generate_docs.ledger_page(ROWS))
    page = table_rows((ROOT / "docs/ledger.md").read_text())
    assert page
    for key, row in page.items():
        assert row == expected[key], "docs/ledger.md is stale; run `make docs`"


def test_the_shipped_ledger_is_up_to_date() -> None:
    rows = ledger.read()
    assert rows
    for key, row in rows.items():
        expected = {name: ROWS[key][name] for name in generate_docs.TEXTS}
        assert vars(row) == expected, "baselines/ledger.json is stale; run `make docs`"


def test_the_methods_page_is_up_to_date() -> None:
    expected = table_rows(generate_docs.method_tables(INFOS))
    page = table_rows((ROOT / "docs/methods.md").read_text())
    assert page
    for key, row in page.items():
        assert row == expected[key], "docs/methods.md is stale; run `make docs`"


def test_cells_hide_the_characters_that_markdown_reads() -> None:
    assert generate_docs.cell("P(a|b) *  c_d\n< 1 `x`") == r"P(a\|b) \* c_d \< 1 \`x\`"
