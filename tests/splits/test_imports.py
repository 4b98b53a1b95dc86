import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "splits"
ALLOWED = {"splits", "numpy", "scipy", "pandas"} | set(sys.stdlib_module_names) - {"pickle"}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.stem)
def test_the_package_imports_only_allowed_modules(file):
    # One module reads published pickles, with an allow-list.
    exceptions = {"coco.py": {"pycocotools"}, "unpickle.py": {"pickle"}}
    allowed = ALLOWED | exceptions.get(file.name, set())
    assert set(imports(file)) - allowed == set()
