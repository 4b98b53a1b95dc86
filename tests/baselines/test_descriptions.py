"""The metadata that is read from the source of methods equals that of the imported classes."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import baselines
from baselines.core import MethodError, descriptions, registry
from baselines.core.info import FAMILIES

HEAD = "from baselines.core import Method, MethodInfo\n"
METHOD = (
    HEAD + 'class Mine(Method):\n    info = MethodInfo("KEY", "Mine", "", 2020, "L", "negative")\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of `baselines/`; its modules are forgotten afterwards."""
    monkeypatch.setattr(baselines, "__path__", [str(tmp_path)])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    modules, names = set(sys.modules), set(vars(baselines))
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in set(vars(baselines)) - names:
        delattr(baselines, name)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def test_equals_the_imported_metadata() -> None:
    read = descriptions.read()
    assert read == {key: method.info for key, method in registry.builtin().items()}
    assert list(read) == list(registry.builtin())


def test_the_methods_of_the_folder_are_read_without_importing_them() -> None:
    code = (
        "import sys; from baselines.core import descriptions; descriptions.read(); "
        "print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_families_are_known() -> None:
    assert {info.family for info in descriptions.read().values()} <= {"", *FAMILIES}


def test_arguments_may_be_sums_tuples_and_constants(folder: Path) -> None:
    (folder / "shared").mkdir()
    write(folder / "shared", "constants", 'PART = "c"\nREGIMES = ("pal", PART)\n')
    path = write(
        folder,
        "one",
        "from baselines.shared.constants import REGIMES as MEANT\n"
        f'{HEAD}TITLE = "A" + "B" "C"\n'
        "class Mine(Method):\n"
        '    info = MethodInfo("one", TITLE, paper="", year=1, equation="L", unknown="ignored",\n'
        '        regimes=MEANT, needs=("x",))\n'
        "class Other(Mine):\n"
        '    info = MethodInfo("two", "T", "", 2, "L", "negative")\n',
    )
    first, second = descriptions.read_file(path) or []
    assert (first.title, first.regimes, first.needs) == ("ABC", ("pal", "c"), ("x",))
    assert second.key == "two"


@pytest.mark.parametrize(
    "text",
    [
        f'{HEAD}class Mine(Method):\n    info = make("mine")\n',
        f'{HEAD}class Mine(Method):\n    info = MethodInfo(name(), "T", "", 1, "L", "ignored")\n',
        f"{HEAD}class Mine(Method):\n    info = MethodInfo(**OPTIONS)\n",
        f'{HEAD}class Mine(Method):\n    info = MethodInfo("mine", wrong=1)\n',
        f'{HEAD}class Mine(Method):\n    info = MethodInfo("mine", UNDEFINED, "", 1, "L", "x")\n',
        METHOD + "if True:\n    class Two(Method):\n        info = Mine.info\n",
        HEAD,
        "class (",
    ],
)
def test_other_files_have_to_be_imported(folder: Path, text: str) -> None:
    assert descriptions.read_file(write(folder, "mine", text)) is None


def test_a_file_that_is_not_literal_is_imported(folder: Path) -> None:
    write(folder, "descriptions_test_a", METHOD.replace('"KEY"', '"-".join(["a", "b"])'))
    write(folder, "descriptions_test_b", METHOD.replace("KEY", "b"))
    assert list(descriptions.read()) == ["a-b", "b"]
    assert "baselines.descriptions_test_b" not in sys.modules


def test_broken_files_are_errors(folder: Path) -> None:
    path = write(folder, "descriptions_test_broken", "import a_module_that_is_not_there\n")
    with pytest.raises(MethodError, match=r"baselines/.*broken\.py cannot be imported: No module"):
        descriptions.read()
    path.write_text(HEAD)
    with pytest.raises(MethodError, match=r"baselines/.*broken\.py defines no method"):
        descriptions.read()


def test_two_equal_keys_are_an_error_that_names_both(folder: Path) -> None:
    write(folder, "first", METHOD)
    write(folder, "second", METHOD)
    message = r"baselines/second\.py and baselines/first\.py both define the method 'KEY'"
    with pytest.raises(MethodError, match=message):
        descriptions.read()


def test_entry_points_are_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "own", METHOD.replace("KEY", "own"))
    point = SimpleNamespace(name="guest", module="baselines.asl")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    assert set(descriptions.read()) == {"own", "asl"}
