"""Help and listings start without torch, and a foreign package of our name is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchkit.cli import COMMANDS, benchkit

HEAVY = ("torch", "torchvision", "pandas", "scipy", "matplotlib", "h5py", "pycocotools")
PROGRAM = """
import contextlib, io, json, sys
sys.argv = ["benchkit", *sys.argv[1:]]
from benchkit.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
print(json.dumps({"code": code, "out": out.getvalue(), "modules": sorted(sys.modules)}))
"""


def modules_after(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    words = [sys.executable, "-c", PROGRAM, *arguments]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    result = json.loads(ended.stdout)
    assert result["code"] == 0 and result["out"]
    return set(result["modules"])


@pytest.mark.parametrize(
    "arguments",
    [("--help",), *((name, "--help") for name in COMMANDS), ("methods",)],
    ids=" ".join,
)
def test_help_and_methods_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not modules_after(*arguments) & set(HEAVY)


def test_the_package_imports_nothing_heavy() -> None:
    program = "import sys, benchkit; print(*sys.modules)"
    words = [sys.executable, "-c", program]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not set(ended.stdout.split()) & {*HEAVY, "numpy", "click"}


def test_summaries_agree_with_the_commands() -> None:
    for name, entry in COMMANDS.items():
        command = benchkit.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None and command.help
        first = " ".join(command.help.split("\n\n")[0].split())
        assert first == entry.summary, name


@pytest.mark.parametrize("kind", ["package", "folder", "module"])
def test_a_foreign_package_of_the_same_name(tmp_path: Path, kind: str) -> None:
    if kind == "module":
        foreign = tmp_path / "splits.py"
        foreign.write_text("")
    else:
        foreign = tmp_path / "splits"
        foreign.mkdir()
        if kind == "package":
            foreign = foreign / "__init__.py"
            foreign.write_text("")
    import splits

    own = Path(splits.__path__[0])
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    options["env"] = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = subprocess.run([sys.executable, "-m", "benchkit", "methods"], **options)
    assert command.returncode == 1
    assert command.stderr.startswith("error: the name 'splits' is taken")
    assert str(foreign) in command.stderr and str(own) in command.stderr
    program = "import benchkit; benchkit.load_split"
    imported = subprocess.run([sys.executable, "-c", program], **options)
    assert str(foreign) in imported.stderr and str(own) in imported.stderr
