"""What the README promises to a reader who copies it, line by line, on data of their own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from baselines.core import registry
from benchkit import check_method
from benchkit.cli import COMMANDS, benchkit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def python(text: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return block


def commands(text: str) -> list[list[str]]:
    """The lines of the indented blocks that begin with our name, without it."""
    return [shlex.split(line)[1:] for line in re.findall(r"^    (benchkit .*)$", text, re.M)]


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    labels = (random.random((200, 3)) < (0.5, 0.3, 0.1)).astype(np.int8)
    np.save("features.npy", random.standard_normal((200, 8)) + labels @ random.random((3, 8)))
    np.save("labels.npy", labels)
    subprocess.run([sys.executable, "-c", python(section("Your own data"))], check=True)
    return tmp_path


def run(words: list[str]) -> str:
    said = CliRunner().invoke(benchkit, words)
    assert said.exit_code == 0, said.output
    return said.stdout


def test_own_data(own_data: Path) -> None:
    make, train, report = commands(section("Your own data"))
    run(make)
    assert run(train).startswith("9 runs done, 0 kept, 0 failed, 0 methods skipped\n")
    table = run(report)
    assert all(f" {key} " in table for key in ("bce", "asl", "db-focal"))


def test_own_method(own_data: Path) -> None:
    run(commands(section("Your own data"))[0])
    text = section("Your own method")
    (own_data / "mine.py").write_text(python(text))
    (train,) = commands(text)
    assert run(train).startswith("6 runs done, 0 kept, 0 failed, 0 methods skipped\n")
    check_method(registry.load_plugin(own_data / "mine.py")["mine"])


def test_every_command_and_page_is_there() -> None:
    named = {words[0] for words in commands(README)}
    named |= set(re.findall(r"`benchkit ([a-z-]+)", README))
    assert named >= {"make-split", "run", "report", "show"}
    assert named <= set(COMMANDS)
    for page in re.findall(r"\]\(([^)]+\.md)\)", README):
        assert (Path(__file__).parents[1] / page).is_file(), page


def test_the_counts_of_verified_methods_are_those_of_the_ledger() -> None:
    ledger = tomllib.loads((ROOT / "tests/baselines/ledger.toml").read_text(encoding="utf-8"))
    sources = Counter(row["source"] for row in ledger.values())
    text = " ".join(README.split())
    for source, sentence in (
        ("authors' code", "{} are tested against numbers computed with the authors' code"),
        ("equations", "{} against independent implementations of the published equations"),
        ("reconstruction", "{} are reconstructions of methods without published code"),
    ):
        (count,) = re.findall(sentence.replace("{}", r"(\d+)"), text)
        # The README may be behind by the methods of the last few days, not by more.
        assert 0 <= sources[source] - int(count) <= 5, source
