import ast
import sys
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / "splits"
ALLOWED = {"splits", "numpy", "scipy", "pandas"} | set(sys.stdlib_module_names) - {"pickle"}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("file", sorted(ROOM.rglob("*.py")), ids=lambda file: file.stem)
def test_the_room_imports_only_what_it_may(file):
    # One module reads published pickles, through an allow-list.
    own = {"coco.py": {"pycocotools"}, "unpickle.py": {"pickle"}}
    allowed = ALLOWED | own.get(file.name, set())
    assert set(imports(file)) - allowed == set()
