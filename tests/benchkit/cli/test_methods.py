"""`benchkit methods`: the list, one method, and the ledger."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from baselines.core import descriptions, ledger
from benchkit.cli.methods import methods

PLUGIN = """
from baselines.bce import BCE
from baselines.core import MethodInfo

class Guest(BCE):
    info = MethodInfo("guest-of-a-test", "Guest", "nobody, 2024", 2024, "L = 0", "negative")
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(methods, [str(argument) for argument in arguments])


def lines(*arguments: object) -> list[str]:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def first_column(output: list[str]) -> set[str]:
    """The entries of the first column of a table; its lines are indented by two spaces."""
    return {line.split()[0] for line in output if line[2:3].strip()}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "guest.py"
    path.write_text(PLUGIN)
    return path


def test_the_list_has_every_method() -> None:
    assert first_column(lines()) >= set(descriptions.read())


def test_the_list_shows_oracles() -> None:
    (row,) = [line for line in lines() if line.split()[:1] == ["bce-clean"]]
    assert row.split()[-1] == "true_labels"


def test_the_list_has_the_methods_of_plugins(plugin: Path) -> None:
    assert first_column(lines("--plugin", plugin)) >= {*descriptions.read(), "guest-of-a-test"}


def test_the_list_is_made_without_torch_and_in_little_time() -> None:
    code = (
        "import sys; sys.argv = ['benchkit', 'methods']\n"
        "from benchkit.cli import main\n"
        "try: main()\n"
        "finally: sys.stderr.write(repr({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "set()"
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.4, f"processor time {times} s"


def test_one_method(plugin: Path) -> None:
    output = lines("asl")
    assert output[0] == "asl: ASL (2021)"
    assert any(
        line.startswith("verified    authors' code: Alibaba-MIIL/ASL@8c9e0bd") for line in output
    )
    assert any(line.startswith("tolerance   1e-9") for line in output)
    assert any(line.startswith("deviations  ") for line in output)
    assert "    --set asl.clip=0.05" in output
    assert max(map(len, output)) <= 100


def test_defaults_that_follow_the_regime() -> None:
    output = lines("p-asl")
    assert "regimes     full, pal, ppl, spl, missing" in output
    start = output.index("    --set p-asl.mode=ignore")
    assert "        default in ppl, spl, missing: negative" in output[start:]
    assert "        default in ppl, spl, missing: False" in lines("csl")


def test_a_method_of_a_plugin_is_not_verified(plugin: Path) -> None:
    output = lines("guest-of-a-test", "--plugin", plugin)
    assert "verified    not verified" in output
    assert not any(line.startswith(("tolerance", "deviations")) for line in output)
    (row,) = [
        line
        for line in lines("guest-of-a-test", "--plugin", plugin, "--ledger")
        if "guest-of-a-test" in line
    ]
    assert row.split() == ["guest-of-a-test", "not", "verified", "–", "–"]


def test_the_ledger_has_every_method_and_loses_no_text() -> None:
    output = lines("--ledger")
    assert first_column(output) >= set(descriptions.read())
    assert "…" not in "".join(output)
    assert max(map(len, output)) <= 100
    table = "".join("".join(output).split())
    for row in ledger.read().values():
        assert "".join(row.source.split()) in table


def test_the_ledger_of_one_method() -> None:
    assert first_column(lines("asl", "--ledger")) & set(descriptions.read()) == {"asl"}


@pytest.mark.parametrize("arguments", [("assl",), ("assl", "--ledger")])
def test_an_unknown_method_is_a_wrong_call(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "there is no method 'assl'; did you mean 'asl'?" in result.output
