"""Importing the base package is cheap: neither torch nor rich comes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import benchkit.base

MODULES = sorted(path.stem for path in Path(benchkit.base.__file__).parent.glob("[!_]*.py"))


def test_only_draw_needs_torch_and_no_module_needs_rich() -> None:
    assert "draw" in MODULES
    names = [f"benchkit.base.{name}" for name in MODULES if name != "draw"]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(*sorted({'torch', 'rich', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
