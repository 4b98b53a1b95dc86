"""`benchkit methods`: the list, one method, the ledger and its two formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from baselines.asl import ASL
from baselines.core import MethodInfo, registry
from benchkit.cli.methods import ledger_markdown, methods
from benchkit.training.check import check_description

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = """
from baselines.bce import BCE
from baselines.core import MethodInfo

class Guest(BCE):
    info = MethodInfo(
        "guest", "Guest", "nobody, 2024", 2024, "L = 0", "negative",
        differs="P(a|b) * c_d < 1 * 2",
    )
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(methods, [str(word) for word in words])


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "guest.py"
    path.write_text(PLUGIN)
    return path


def test_the_list_has_every_method() -> None:
    said = run()
    assert said.exit_code == 0
    listed = [line.split()[0] for line in said.output.splitlines() if line.strip()]
    assert set(registry.builtin()) <= set(listed)


def test_one_method_says_what_it_is_held_to(plugin: Path) -> None:
    said = run("asl").output
    assert "held to     authors' code: Alibaba-MIIL/ASL@8c9e0bd" in said
    assert "tolerance   1e-9" in said
    assert max(map(len, said.splitlines())) <= 100
    guest = run("guest", "--plugin", plugin).output
    assert "held to     not verified" in guest
    assert "tolerance" not in guest


def test_the_ledger_in_a_terminal_keeps_every_word() -> None:
    said = run("--ledger")
    assert said.exit_code == 0
    assert "…" not in said.output
    lines = said.output.splitlines()
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if line[2:3].strip()} >= set(registry.builtin())


def test_the_ledger_as_a_page() -> None:
    said = run("--ledger", "--format", "markdown")
    assert said.output == ledger_markdown(m.info for m in registry.builtin().values())
    (row,) = [line for line in said.output.splitlines() if line.startswith("| `asl` |")]
    _, key, held, tolerance, deviations, tests, _ = row.split(" | ".strip())
    assert (key, tolerance) == (" `asl` ", f" {ASL.info.tolerance} ")
    assert held == f" {ASL.info.source}: {ASL.info.reference} "
    assert r"B\*C" in deviations
    assert tests.count("tests/baselines/test_asl.py::") == len(ASL.info.evidence)
    one = run("asl", "--ledger", "--format", "markdown").output
    assert one.splitlines()[-1] == row
    assert "`bce`" not in one


def test_a_guest_is_not_verified(plugin: Path) -> None:
    said = run("guest", "--plugin", plugin, "--ledger", "--format", "markdown").output
    row = said.splitlines()[-1]
    assert row == r"| `guest` | not verified | – | P(a\|b) \* c_d \< 1 \* 2 | – |"
    assert "not verified" in run("guest", "--plugin", plugin, "--ledger").output


def test_a_claim_without_a_test_is_not_verified() -> None:
    claims = dict(source="authors' code", reference="us/it@1234567", tolerance="1e-9")
    info = MethodInfo("boast", "Boast", "none", 2026, "L = 0", "negative", **claims)
    assert "| `boast` | not verified | – | – | – |" in ledger_markdown([info])
    for words in (claims, {"source": "trust me", **dict(list(claims.items())[1:])}):
        given = MethodInfo("boast", "Boast", "none", 2026, "L = 0", "negative", **words)
        with pytest.raises(AssertionError, match="the ledger's row is not whole"):
            check_description(type("Boast", (ASL,), {"info": given}))


def test_wrong_calls() -> None:
    said = run("--format", "markdown")
    assert said.exit_code == 2
    assert "add --ledger" in said.output
    assert run("assl", "--ledger").exit_code == 2
